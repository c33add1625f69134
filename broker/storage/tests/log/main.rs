//! The log from outside: what a caller is promised, on the simulated disk and on a real one.

#[cfg(test)]
mod basics;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod files;
#[cfg(test)]
mod follower;
#[cfg(test)]
mod lock;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod torn;
#[cfg(test)]
mod world;

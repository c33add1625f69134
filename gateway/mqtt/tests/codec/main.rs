//! The codec from outside: what it must accept, what it must refuse, that nothing is lost on the way, and what three
//! other codecs say.

#[cfg(test)]
mod fragment;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod mutate;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod roundtrip;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod vector;

//! Buffers of sockets, borrowed while bytes move. A client that is silent holds none: it is what most clients are.

use std::cell::RefCell;

use bytes::BytesMut;

/// Bytes of a buffer: what one read or write of a socket moves at most, nearly.
pub(super) const SIZE: usize = 64 << 10;
/// Buffers that a thread keeps.
const KEPT: usize = 8;
/// A partial packet of at most so many bytes is copied into a buffer of its own size.
const SMALL: usize = 4 << 10;

thread_local! {
    static FREE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer of [`SIZE`] bytes.
pub(super) fn borrow() -> BytesMut {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(SIZE))
}

/// Takes a buffer back, unless packets still share it.
pub(super) fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    // What was split off and dropped meanwhile is part of the buffer again.
    let whole = buffer.capacity() >= SIZE || buffer.try_reclaim(SIZE);
    if whole && buffer.capacity() <= 2 * SIZE {
        FREE.with_borrow_mut(|free| {
            if free.len() < KEPT {
                free.push(buffer);
            }
        });
    }
}

/// Makes room to read into.
pub(super) fn make_room(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() < SMALL {
        give_back(std::mem::replace(buffer, borrow()));
    } else if buffer.capacity() - buffer.len() < SMALL {
        // Grows with what has come, never with what a header announces.
        buffer.reserve(SIZE);
    }
}

/// Nothing more can be read now: keeps what is there in no more memory than it needs.
pub(super) fn settle(buffer: &mut BytesMut) {
    if buffer.is_empty() {
        if buffer.capacity() > 0 {
            give_back(std::mem::take(buffer));
        }
    } else if buffer.len() <= SMALL && buffer.capacity() > 2 * SMALL {
        let small = BytesMut::from(&**buffer);
        give_back(std::mem::replace(buffer, small));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_buffer_costs_nothing_and_a_partial_packet_what_it_has() {
        let mut buffer = BytesMut::new();
        make_room(&mut buffer);
        assert!(buffer.capacity() >= SIZE);
        buffer.extend_from_slice(&[1; 100]);
        settle(&mut buffer);
        assert_eq!((&*buffer, buffer.capacity() < SMALL), (&[1; 100][..], true));
        buffer.clear();
        settle(&mut buffer);
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn a_buffer_is_used_again_once_no_packet_shares_it() {
        let mut buffer = borrow();
        buffer.extend_from_slice(&[7; 1000]);
        let at = buffer.as_ptr();
        let packet = buffer.split_to(1000).freeze();
        drop(packet);
        settle(&mut buffer);
        let again = borrow();
        assert_eq!(again.as_ptr(), at);
        give_back(again);
    }
}

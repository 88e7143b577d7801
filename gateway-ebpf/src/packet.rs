//! Bounds-checked reads of a packet's linear part. The only raw pointers of the pure datapath stand here.
//!
//! The checks are written the way the kernel's verifier follows them: one pointer, compared with the end,
//! then read.

use core::marker::PhantomData;

use zerocopy::FromBytes;

/// The bytes of a packet, from the link-layer header on, that can be read directly.
#[derive(Clone, Copy)]
pub struct Packet<'a> {
    start: usize,
    end: usize,
    bytes: PhantomData<&'a [u8]>,
}

impl<'a> Packet<'a> {
    /// A packet in ordinary memory.
    pub fn new(bytes: &'a [u8]) -> Self {
        let range = bytes.as_ptr_range();
        Self { start: range.start as usize, end: range.end as usize, bytes: PhantomData }
    }

    /// A packet in kernel memory.
    ///
    /// # Safety
    ///
    /// `start` and `end` must be the `data` and `data_end` of a context, read after the last helper call that
    /// may have moved the packet.
    #[inline(always)]
    pub const unsafe fn from_raw(start: usize, end: usize) -> Self {
        Self { start, end, bytes: PhantomData }
    }

    /// Bytes that can be read directly.
    #[inline(always)]
    pub const fn linear_len(&self) -> usize {
        self.end - self.start
    }

    /// The header at `offset`, or nothing if the packet ends before the header does.
    #[inline(always)]
    pub fn read<T: FromBytes + Copy>(&self, offset: usize) -> Option<T> {
        let header = self.start + offset;
        if header + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: header..header + size_of::<T>() lies within the packet, as was just checked, and any bytes
        // are a valid T.
        Some(unsafe { load(header as *const T) })
    }
}

/// Reads a header that may lie at any address.
///
/// # Safety
///
/// The memory must be readable for the size of `T`.
#[inline(always)]
unsafe fn load<T: Copy>(header: *const T) -> T {
    if cfg!(target_arch = "bpf") {
        // SAFETY: readable as the caller promises. The address may not be aligned; BPF's loads do not mind on
        // any machine whose verifier accepts them, and whole words are an eighth of the instructions.
        unsafe { header.read() }
    } else {
        // SAFETY: readable as the caller promises; alignment does not matter to this read.
        unsafe { header.read_unaligned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_ends_beyond_the_packet_is_not_read() {
        let bytes = [1u8, 2, 3, 4, 5];

        let packet = Packet::new(&bytes);

        assert_eq!(packet.read::<[u8; 4]>(1), Some([2, 3, 4, 5]));
        assert_eq!(packet.read::<[u8; 4]>(2), None);
        assert_eq!(packet.read::<u8>(5), None);
    }
}

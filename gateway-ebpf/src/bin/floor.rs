//! A program that does nothing: the floor under every measurement of the datapath.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod kernel {
    use aya_ebpf::macros::classifier;
    use aya_ebpf::programs::TcContext;

    const TCX_NEXT: i32 = -1;

    #[classifier]
    fn floor(_context: TcContext) -> i32 {
        TCX_NEXT
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo) -> ! {
        // Nothing here can panic.
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("this is an eBPF object for the kernel: build it with `cargo xtask build-ebpf`");
    std::process::exit(2);
}

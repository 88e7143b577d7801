//! Forwarding: exact bytes there and back.
use anyhow::Result;
use beeline_tests::packets::*;
use gateway_common::*;

#[test]
fn tcp() -> Result<()> {
    let c = "192.0.2.10:40000".parse()?;
    let v = "203.0.113.1:8000".parse()?;
    let b = "10.1.0.11:80".parse()?;
    let t = std::time::Instant::now();
    let mut d = Datapath::load()?;
    eprintln!("load {:?}", t.elapsed());
    d.serve(&Service::new(Protocol::TCP, v, &[(1, b)]))?;
    let syn = Packet::syn(c, v);
    assert_eq!(d.ingress(&syn)?, Outcome::pass(&syn.clone().between(c, b)));
    eprintln!("ingress {:?}", t.elapsed());
    let r = Packet::tcp(b, c).flags(flags::SYN | flags::ACK);
    assert_eq!(d.egress(&r)?, Outcome::pass(&r.clone().between(v, c)));
    eprintln!("egress {:?}", t.elapsed());
    Ok(())
}

//! The way to the HTTP layer without HTTP: the real datapath in a node, driven as the agent drives it, and listeners that
//! say who has reached them by which address.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::agent::mount_bpffs;
use beeline_tests::netns::{Lifetime, Namespace};
use beeline_tests::packets::SMALL;
use beeline_tests::topology::{Plan, Topology};
use beeline_tests::{cgroup::Cgroup, client};
use gateway_common::{Address, FrontendKey, Place, Port, Protocol};
use gateway_userspace::dataplane::{
    Dataplane, Directory, Dump, Listener, Role, Scope, Settings, Unloading, Uplink, View,
};
use gateway_userspace::host::listeners;
use gateway_userspace::model::http::Site;
use gateway_userspace::model::{Backend, Group, Member, Model, PodId, Service};
use gateway_userspace::reconcile::{Reconciler, Way, Ways};

/// Every Pod is on this node.
struct Here;

impl Ways for Here {
    fn version(&mut self) -> u64 {
        0
    }

    fn way(&mut self, _to: &Address) -> Way {
        Way::Local
    }
}

/// A node with the datapath, and without an agent. Dropping it takes the datapath off.
pub struct Node {
    bpffs: PathBuf,
    dataplane: Option<Dataplane>,
    reconciler: Reconciler,
    vips: Vec<Address>,
    // Dropped in this order: processes end with the namespaces.
    pub network: Topology,
    pub cgroup: Cgroup,
}

impl Node {
    /// A network with one Pod, and the datapath on the node's uplink and on the sockets of a cgroup.
    pub fn build() -> Result<Self> {
        let network = Topology::build(&Plan::pods(&["v1"]), Lifetime::Process)?;
        let cgroup = Cgroup::create(&network.group)?;
        mount_bpffs()?;
        let bpffs = PathBuf::from("/sys/fs/bpf").join(network.group.name());
        let path = PathBuf::from(cgroup.name());
        let open = || -> Result<Dataplane> {
            let mut dataplane = Dataplane::open(Directory::create(&bpffs)?, SMALL, &Settings::default())?;
            let index = nix::net::if_::if_nametoindex("eth0")?;
            let uplink = Uplink { name: "eth0".to_owned(), index, ethernet: true, role: Role::Uplink };
            dataplane.attach(&[uplink].into())?;
            dataplane.select_sockets(Some(&Scope::find(Some(&path))?))?;
            Ok(dataplane)
        };
        let dataplane = network.node.enter(open)??;
        let reconciler = Reconciler::adopt(&dataplane.read_actual()?, dataplane.capacities(), Duration::ZERO);
        Ok(Self { bpffs, dataplane: Some(dataplane), reconciler, vips: Vec::new(), network, cgroup })
    }

    /// Has the datapath do what a model asks for, and gives the number of writes.
    pub fn serve(&mut self, model: &Model) -> Result<usize> {
        let plan = self.reconciler.plan(model, &mut Here, Duration::from_secs(1));
        self.dataplane.as_mut().context("there is a datapath")?.apply(&plan.writes)?;
        for vip in &plan.host_vips {
            if !self.vips.contains(vip) {
                let bits = if vip.to_ip().is_ipv4() { 32 } else { 128 };
                self.network.node.ip(&format!("addr add {}/{bits} dev lo\n", vip.to_ip()))?;
                self.vips.push(*vip);
            }
        }
        Ok(plan.writes.len())
    }

    /// Forgets everything but the maps, as an agent does that starts anew.
    pub fn restart(&mut self) -> Result<()> {
        let dataplane = self.dataplane();
        self.reconciler = Reconciler::adopt(&dataplane.read_actual()?, dataplane.capacities(), Duration::ZERO);
        Ok(())
    }

    pub fn dataplane(&self) -> &Dataplane {
        self.dataplane.as_ref().expect("there is a datapath")
    }

    /// Opens a listener of each family and has it take the connections.
    pub fn open_door(&self, name: &str, sockets: usize) -> Result<[Server; 2]> {
        let [v4, v6] = Listener::ALL.map(|family| -> Result<Server> {
            let server = Server::start(&self.network.node, name, family, sockets)?;
            self.dataplane().steer(family, Some(server.sockets[0].as_fd()))?;
            Ok(server)
        });
        Ok([v4?, v6?])
    }

    pub fn dump(&self) -> Result<Dump> {
        Ok(View::open(&self.bpffs)?.dump()?)
    }

    /// How often the datapath dropped or refused for this reason.
    pub fn drops(&self, reason: &str) -> Result<u64> {
        let dump = self.dump()?;
        Ok(dump.drops.iter().find(|counter| counter.name == reason).context("such a reason")?.packets)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.dataplane.take());
        let _unloaded = self.network.node.enter(|| Unloading::begin(&self.bpffs).and_then(Unloading::finish));
        let _removed = fs::remove_dir_all(&self.bpffs);
    }
}

/// A TCP frontend.
pub fn key(frontend: SocketAddr) -> FrontendKey {
    FrontendKey::new(frontend.ip().into(), Port::new(frontend.port()), Protocol::TCP)
}

/// A model in which the HTTP layer has all these frontends, while the Pod lives.
pub fn sites(frontends: impl IntoIterator<Item = SocketAddr>) -> Model {
    let site = Arc::new(Site { owner: "Gateway shop/web".to_owned(), ..Site::default() });
    let sites = frontends.into_iter().map(|frontend| (key(frontend), Arc::clone(&site)));
    Model { sites: sites.collect(), living_pods: living(), ..Model::default() }
}

fn living() -> BTreeSet<PodId> {
    [PodId::from_uid("v1")].into()
}

/// A model in which each of these frontends has this one Pod.
pub fn services(frontends: &[(SocketAddr, SocketAddr)]) -> Model {
    let service = |pod: &SocketAddr| {
        let backend = Backend {
            address: pod.ip().into(),
            port: Port::new(pod.port()),
            protocol: Protocol::TCP,
            pod: PodId::from_uid("v1"),
        };
        let member = Member { name: "shop/v1".to_owned(), weight: 1, place: Place::Here };
        let members = BTreeMap::from([(backend, member)]);
        let groups = vec![Group { reference: "Service shop/v1:9000".to_owned(), weight: 1, members }];
        Arc::new(Service { owner: "TCPRoute shop/web".to_owned(), groups, ..Service::default() })
    };
    Model {
        services: frontends.iter().map(|(frontend, pod)| (key(*frontend), service(pod))).collect(),
        living_pods: living(),
        ..Model::default()
    }
}

/// Listens, and answers each line `who` with its name, the client and the address that the client has reached; it returns
/// every other line. Dropping it closes the listeners; connections go on until their clients end them.
pub struct Server {
    sockets: Arc<Vec<TcpListener>>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<usize>>>,
}

impl Server {
    /// Opens the sockets in a node.
    pub fn start(node: &Namespace, name: &str, family: Listener, count: usize) -> Result<Self> {
        let sockets = Arc::new(node.enter(|| listeners::open(family, count))??);
        let ends = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|index| {
            let (sockets, ends, name) = (Arc::clone(&sockets), Arc::clone(&ends), name.to_owned());
            thread::spawn(move || accept(&sockets[index], &ends, &name))
        });
        Ok(Self { threads: threads.collect(), sockets, ends })
    }

    /// What the sockets are bound to.
    pub fn bound_to(&self) -> Result<SocketAddr> {
        Ok(self.sockets[0].local_addr()?)
    }

    /// Ends, and says how many connections each socket took.
    pub fn end(mut self) -> Result<Vec<usize>> {
        self.ends.store(true, Ordering::Relaxed);
        let ended = self.threads.drain(..).map(|thread| Ok(thread.join().expect("no panic")?));
        ended.collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of the thread has been printed.
            let _ended = thread.join();
        }
    }
}

fn accept(socket: &TcpListener, ends: &AtomicBool, name: &str) -> io::Result<usize> {
    const PAUSE: Duration = Duration::from_millis(2);
    let mut accepted = 0;
    while !ends.load(Ordering::Relaxed) {
        match socket.accept() {
            Ok((stream, _)) => {
                accepted += 1;
                let name = name.to_owned();
                thread::spawn(move || answer(&stream, &name));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(accepted)
}

fn answer(stream: &TcpStream, name: &str) -> io::Result<()> {
    let said = format!("{name} {} {}\n", stream.peer_addr()?, stream.local_addr()?);
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let text = if line == "who" { said.clone() } else { line + "\n" };
        (&mut &*stream).write_all(text.as_bytes())?;
    }
    Ok(())
}

/// A client's connection.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects from a namespace.
    pub fn open(from: &Namespace, target: SocketAddr) -> Result<Self> {
        let stream = from.enter(|| client::connect(target))?.with_context(|| format!("no connection to {target}"))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Its own address.
    pub fn own(&self) -> Result<SocketAddr> {
        Ok(self.stream.get_ref().local_addr()?)
    }

    /// Sends a line and waits for another.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }
}

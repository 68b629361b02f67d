//! Asks the system what it offers. What the answers mean is judged in `crate::host`.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use glommio::{GlommioError, LocalExecutorBuilder, Placement};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};
use socket2::{Domain, Socket, Type};

use crate::config::address;
use crate::config::load::Resolved;
use crate::host::{Facts, Port, PortState, Process, Ring, kernel_suffices, memlock_suffices};

/// Raises the limits of open files and locked memory as far as this process may: a user who has a hard limit
/// of a million should not have to know of `ulimit`.
pub fn raise_limits() {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let limit = getrlimit(resource);
        // If it cannot be raised it stays as it is, and is judged as such.
        let _ = setrlimit(resource, Rlimit { current: limit.maximum, ..limit });
    }
}

/// All that the judgement needs to know, for these listeners.
#[must_use]
pub fn gather(resolved: &Resolved) -> Facts {
    let config = &resolved.config;
    let kernel = read_trimmed("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into());
    let memlock_bytes = getrlimit(Resource::Memlock).current;
    // On a kernel without some operations glommio ends the process instead of returning an error.
    let can_try = kernel_suffices(&kernel) && memlock_suffices(memlock_bytes);
    let key = |path: &str| format!("`{}` in the configuration", resolved.name_of(path));
    let first = |section: &str| {
        let listen = key(&format!("{section}.listen"));
        (section.to_owned(), format!("strait --{section} IP:PORT, or {listen}"))
    };
    let mut listeners = vec![
        (first("mqtt"), config.mqtt.listen),
        (first("nats"), config.nats.listen),
        (first("admin"), config.admin.listen),
    ];
    let named = config.listeners.iter();
    listeners.extend(named.map(|it| ((it.path(), key(&format!("{}.bind", it.path()))), it.bind)));
    Facts {
        ring: if can_try { try_ring() } else { Ring::NotTried },
        io_uring_disabled: read_number("/proc/sys/kernel/io_uring_disabled"),
        seccomp: has_seccomp_filter(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
        memlock_bytes,
        open_files: getrlimit(Resource::Nofile).current,
        cores: usable_cores(),
        somaxconn: read_number("/proc/sys/net/core/somaxconn"),
        ports: listeners
            .into_iter()
            .filter_map(|(name, address)| address.map(|address| (name, address)))
            .map(|((name, elsewhere), address)| Port {
                name,
                elsewhere,
                address,
                state: try_address(address),
            })
            .collect(),
        kernel,
    }
}

/// Files that this process may have open, each connection being one.
#[must_use]
pub fn open_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Cores in this process's affinity mask, which containers and `taskset` narrow; the list of online ones does
/// not show that.
#[must_use]
pub fn usable_cores() -> usize {
    processors().len().max(1)
}

/// The numbers of those cores, to pin shards to.
#[must_use]
pub fn processors() -> Vec<usize> {
    let mask = sched_getaffinity(None);
    mask.map_or(Vec::new(), |mask| (0..CpuSet::MAX_CPU).filter(|&number| mask.is_set(number)).collect())
}

fn read_trimmed(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn read_number(path: &str) -> Option<u32> {
    read_trimmed(path)?.parse().ok()
}

fn has_seccomp_filter(status: &str) -> bool {
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

const PROBE: &str = "ring probe";

/// Makes an executor as small as they come, on a thread of its own because glommio panics when the first
/// ring of a process is refused.
fn try_ring() -> Ring {
    let errno = Arc::new(AtomicI32::new(0));
    let outcome = with_quiet_panics(&errno, || {
        let probe = thread::Builder::new().name(PROBE.into()).spawn(|| {
            LocalExecutorBuilder::new(Placement::Unbound).io_memory(64 << 10).ring_depth(8).make().map(drop)
        });
        probe.map(thread::JoinHandle::join)
    });
    match outcome {
        Ok(Ok(Ok(()))) => Ring::Made,
        Ok(Ok(Err(GlommioError::IoError(error)))) => classify(&error),
        Ok(Ok(Err(error))) => Ring::Failed(error.to_string()),
        // The panic does not say why, but the failed system call was the last one before it.
        Ok(Err(_panic)) => classify(&io::Error::from_raw_os_error(errno.load(Ordering::Relaxed))),
        Err(error) => Ring::Failed(format!("no thread for it: {error}")),
    }
}

fn classify(error: &io::Error) -> Ring {
    match Errno::from_io_error(error) {
        Some(Errno::NOSYS) => Ring::NoSystemCall,
        Some(Errno::PERM) => Ring::Forbidden,
        Some(Errno::ACCESS) => Ring::Denied,
        Some(Errno::NOMEM) => Ring::NoMemory,
        Some(Errno::MFILE | Errno::NFILE) => Ring::NoFile,
        Some(_) | None => Ring::Failed(error.to_string()),
    }
}

/// While `work` runs, a panic of the probe writes its thread's last error number to `errno` and nothing to
/// the terminal. Those of other threads are reported as ever.
fn with_quiet_panics<T>(errno: &Arc<AtomicI32>, work: impl FnOnce() -> T) -> T {
    let previous: Arc<dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync> = Arc::from(panic::take_hook());
    let (others, errno) = (Arc::clone(&previous), Arc::clone(errno));
    panic::set_hook(Box::new(move |info| {
        let last = io::Error::last_os_error().raw_os_error();
        if thread::current().name() == Some(PROBE) {
            errno.store(last.unwrap_or(0), Ordering::Relaxed);
        } else {
            others(info);
        }
    }));
    let result = work();
    panic::set_hook(Box::new(move |info| previous(info)));
    result
}

/// Binds as the listeners do: with SO_REUSEADDR, so that connections of an earlier run do not keep the port,
/// and without SO_REUSEPORT, which would share it with another process in silence. Does not listen, so that
/// no client is accepted by a check.
fn try_address(address: SocketAddr) -> PortState {
    let bound = Socket::new(Domain::for_address(address), Type::STREAM, None).and_then(|socket| {
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())
    });
    let Err(error) = bound else { return PortState::Free };
    match Errno::from_io_error(&error) {
        Some(Errno::ADDRINUSE) => PortState::Taken(holder(address)),
        Some(Errno::ACCESS | Errno::PERM) => PortState::Forbidden,
        Some(Errno::ADDRNOTAVAIL) => PortState::NotOurs,
        Some(_) | None => PortState::Failed(error.to_string()),
    }
}

/// The process that listens on an address. Only root sees into the processes of others.
fn holder(address: SocketAddr) -> Option<Process> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening(&table, address))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let is_ours = |process: &u32| {
        let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let id = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_ours)?;
    let name = read_trimmed(&format!("/proc/{id}/comm")).unwrap_or_else(|| "a process".into());
    Some(Process { id, name })
}

/// The inodes of listening sockets that are in the way of an address, out of the system's table.
fn listening(table: &str, wanted: SocketAddr) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let inode = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let taken = parse_local(local).filter(|&taken| *state == LISTEN && address::collide(taken, wanted));
        taken.and_then(|_| inode.parse().ok())
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// `0100007F:075B`: words of the address as this machine has them in memory, then the port.
fn parse_local(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |idx: usize| u32::from_str_radix(ip.get(idx * 8..idx * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = if ip.len() == 8 {
        IpAddr::from(Ipv4Addr::from(word(0)?))
    } else {
        let mut bytes = [0; 16];
        for (idx, part) in bytes.chunks_exact_mut(4).enumerate() {
            part.copy_from_slice(&word(idx)?);
        }
        IpAddr::from(Ipv6Addr::from(bytes))
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seccomp_filter_is_told_from_none() {
        assert!(has_seccomp_filter("Name:\tstrait\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!has_seccomp_filter("Seccomp:\t0\nSeccomp_filters:\t2\n"));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_socket_in_the_way_is_found_in_the_systems_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:075B 0100007F:A2C4 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
   2: 00000000:1092 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
";
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(listening(table, loopback(1883)), [4711]);
        assert_eq!(listening(table, loopback(4242)), [4713]);
        assert_eq!(listening(table, loopback(1884)), [0; 0]);
        let v6 = parse_local("00000000000000000000000001000000:1092");
        assert_eq!(v6, "[::1]:4242".parse().ok());
    }

    #[test]
    fn a_listener_in_this_process_is_found_as_the_holder() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let state = try_address(listener.local_addr().unwrap());
        let PortState::Taken(Some(process)) = state else { panic!("{state:?}") };
        assert_eq!(process.id, std::process::id());
    }

    #[test]
    fn an_address_of_another_host_is_not_ours() {
        // From the block that is reserved for documentation.
        assert_eq!(try_address(SocketAddr::from(([192, 0, 2, 1], 1883))), PortState::NotOurs);
    }
}

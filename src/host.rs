//! What a host must offer for the gateway to run, judged from facts. Gathering the facts is `runtime::host`:
//! nothing here asks the system anything.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::SocketAddr;

use crate::config::schema::Config;

/// The first kernel with every operation that the cores submit: polls that go on.
pub const KERNEL_MIN: (u32, u32) = (5, 13);

/// Each executor refuses to start below this.
pub const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

/// What a listener asks for as its backlog.
pub const BACKLOG: u32 = 1024;

/// Open files beyond those of connections: standard streams, listeners, log; and per shard its rings, its
/// event descriptor and connections that are just moving.
const FILES_OF_PROCESS: u64 = 64;
const FILES_OF_SHARD: u64 = 32;

/// What was found out about this host. A limit of `None` is no limit.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The kernel's release.
    pub kernel: String,
    /// Whether an executor could be made.
    pub ring: Ring,
    /// `kernel.io_uring_disabled`, on kernels that have it.
    pub io_uring_disabled: Option<u32>,
    /// Whether a seccomp filter is on this process.
    pub seccomp: bool,
    /// RLIMIT_MEMLOCK.
    pub memlock_bytes: Option<u64>,
    /// RLIMIT_NOFILE, after it has been raised as far as this process may.
    pub open_files: Option<u64>,
    /// Cores that this process may run on.
    pub cores: usize,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u32>,
    /// The configured listeners.
    pub ports: Vec<Port>,
}

/// What became of an attempt to make an executor with its rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ring {
    /// It was made.
    Made,
    /// Not attempted, because another fact already forbids it.
    NotTried,
    /// The system call is unknown.
    NoSystemCall,
    /// Not permitted.
    Forbidden,
    /// Permitted in general, but denied to this process by a security module.
    Denied,
    /// No memory may be locked, or there is none.
    NoMemory,
    /// No file may be opened.
    NoFile,
    /// Anything else.
    Failed(String),
}

/// A listener's address, and whether it is free.
#[derive(Clone, Debug)]
pub struct Port {
    /// As the configuration calls it: "mqtt", "nats", or the name of a listener.
    pub name: String,
    /// What has it listen at another address.
    pub elsewhere: String,
    /// The address.
    pub address: SocketAddr,
    /// Whether it can be had.
    pub state: PortState,
}

/// Whether an address can be listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortState {
    /// It can.
    Free,
    /// Another socket has it; the process is known if the system shows it to us.
    Taken(Option<Process>),
    /// Not permitted: a port below 1024.
    Forbidden,
    /// No interface of this host has the address.
    NotOurs,
    /// Anything else.
    Failed(String),
}

/// A process that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
}

/// What a finding means for a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It runs, but not as configured or as fast as it could.
    Warning,
    /// io_uring cannot be used: it does not run.
    NoIoUring,
    /// The system refuses something else: it does not run.
    Refused,
}

/// One fact, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: Cow<'static, str>,
    /// What it means.
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What mends it.
    pub mend: Option<String>,
}

impl Finding {
    /// A fact that is as it should be.
    pub fn ok(subject: impl Into<Cow<'static, str>>, text: String) -> Self {
        Self { subject: subject.into(), verdict: Verdict::Ok, text, mend: None }
    }

    fn bad(
        subject: impl Into<Cow<'static, str>>,
        verdict: Verdict,
        text: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { subject: subject.into(), verdict, text: text.into(), mend: Some(mend.into()) }
    }

    /// Whether the gateway cannot run.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self.verdict, Verdict::NoIoUring | Verdict::Refused)
    }
}

/// Findings in columns, a line for each and one for what mends it.
#[must_use]
pub fn in_columns<'f>(findings: impl Iterator<Item = &'f Finding> + Clone) -> String {
    let width = findings.clone().map(|it| it.subject.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { subject, verdict, text: found, mend } in findings {
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::NoIoUring | Verdict::Refused => "failure",
        };
        let _ = writeln!(text, "{verdict:<8} {subject:<width$} {found}");
        if let Some(mend) = mend {
            let _ = writeln!(text, "{:<8} {:<width$} mend: {mend}", "", "");
        }
    }
    text
}

/// Shards to run: as configured, or one for each core.
#[must_use]
pub fn shards(config: &Config, cores: usize) -> usize {
    if config.cores == 0 { cores.max(1) } else { config.cores }
}

/// Every fact, judged, in the order in which they matter.
#[must_use]
pub fn judge(facts: &Facts, config: &Config) -> Vec<Finding> {
    let shards = shards(config, facts.cores);
    let mut findings = vec![
        judge_ring(facts),
        judge_memlock(facts.memlock_bytes, shards),
        judge_open_files(facts.open_files, config, shards),
        judge_cores(facts.cores, shards),
        judge_backlog(facts.somaxconn),
    ];
    findings.extend(facts.ports.iter().map(judge_port));
    findings
}

/// The worst of the failures, if there is one. Without io_uring a free port helps nobody.
#[must_use]
pub fn worst_failure(findings: &[Finding]) -> Option<Verdict> {
    let failures = || findings.iter().filter(|finding| finding.is_failure()).map(|finding| finding.verdict);
    failures().find(|verdict| *verdict == Verdict::NoIoUring).or_else(|| failures().next())
}

/// Whether the kernel has all that executors need. A release that cannot be read gets its chance.
#[must_use]
pub fn kernel_suffices(release: &str) -> bool {
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map_while(|part| part.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) >= KERNEL_MIN,
        _ => true,
    }
}

/// Whether an executor would start at all with this limit.
#[must_use]
pub fn memlock_suffices(limit_bytes: Option<u64>) -> bool {
    limit_bytes.is_none_or(|bytes| bytes >= MEMLOCK_BYTES_MIN)
}

fn judge_ring(facts: &Facts) -> Finding {
    const SUBJECT: &str = "io_uring";
    let fail = |text: &str, mend: &str| Finding::bad(SUBJECT, Verdict::NoIoUring, text, mend);
    let kernel = &facts.kernel;
    if !kernel_suffices(kernel) {
        let (major, minor) = KERNEL_MIN;
        let text =
            format!("Linux {kernel} is too old: {major}.{minor} is the first that has all that is needed");
        return fail(&text, "boot a newer kernel");
    }
    match &facts.ring {
        Ring::Made => Finding::ok(SUBJECT, format!("available on Linux {kernel}")),
        Ring::NotTried => {
            Finding { mend: None, ..fail("not tried: too little memory may be locked, see there", "") }
        }
        Ring::NoSystemCall if facts.seccomp => {
            fail("hidden by this container's or unit's sandbox", MEND_SECCOMP)
        }
        Ring::NoSystemCall => fail(
            "this kernel is built without it",
            "boot a kernel with CONFIG_IO_URING=y; a sandbox such as gVisor has none",
        ),
        Ring::Forbidden => judge_forbidden_ring(facts),
        Ring::Denied => fail("denied by a security module", MEND_MODULE),
        Ring::NoMemory => fail("no memory can be locked for its rings", MEND_MEMLOCK),
        Ring::NoFile => fail("no file can be opened for its rings", "ulimit -n 4096"),
        Ring::Failed(why) => fail(
            &format!("an executor cannot be made on Linux {kernel}: {why}"),
            "strace -f -e trace=io_uring_setup,io_uring_register strait check  # shows which call fails",
        ),
    }
}

const MEND_SECCOMP: &str = "docker run --security-opt seccomp=unconfined …, or with a profile that allows \
     io_uring_setup, io_uring_enter and io_uring_register";

const MEND_MEMLOCK: &str =
    "ulimit -l unlimited; systemd: LimitMEMLOCK=infinity; docker run --ulimit memlock=-1 …";

const MEND_MODULE: &str = "sudo dmesg | grep -iE 'denied|io_uring'  # names the rule to change";

fn judge_forbidden_ring(facts: &Facts) -> Finding {
    let (text, mend) = match (facts.io_uring_disabled, facts.seccomp) {
        (Some(2), _) => {
            ("switched off: kernel.io_uring_disabled is 2", "sudo sysctl -w kernel.io_uring_disabled=0")
        }
        (Some(1), false) => (
            "kept from this user: kernel.io_uring_disabled is 1, which leaves it to kernel.io_uring_group",
            "sudo sysctl -w kernel.io_uring_group=$(id -g)  # or kernel.io_uring_disabled=0 for everybody",
        ),
        (_, true) => ("forbidden by a seccomp filter, as Docker's default profile does", MEND_SECCOMP),
        (_, false) => ("forbidden, probably by a security module", MEND_MODULE),
    };
    Finding::bad("io_uring", Verdict::NoIoUring, text, mend)
}

fn judge_memlock(limit_bytes: Option<u64>, shards: usize) -> Finding {
    const SUBJECT: &str = "locked memory";
    let Some(limit) = limit_bytes else { return Finding::ok(SUBJECT, "no limit".into()) };
    let kib = limit >> 10;
    let wanted = MEMLOCK_BYTES_MIN.saturating_mul(u64::try_from(shards).unwrap_or(u64::MAX));
    if !memlock_suffices(limit_bytes) {
        let text = format!("{kib} KiB, but an executor needs {} KiB", MEMLOCK_BYTES_MIN >> 10);
        Finding::bad(SUBJECT, Verdict::NoIoUring, text, MEND_MEMLOCK)
    } else if limit < wanted {
        let text = format!("{kib} KiB; {shards} shards may need {} KiB", wanted >> 10);
        Finding::bad(SUBJECT, Verdict::Warning, text, MEND_MEMLOCK)
    } else {
        Finding::ok(SUBJECT, format!("{kib} KiB for {shards} shards"))
    }
}

fn judge_open_files(limit: Option<u64>, config: &Config, shards: usize) -> Finding {
    const SUBJECT: &str = "open files";
    let Some(limit) = limit else { return Finding::ok(SUBJECT, "no limit".into()) };
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let own = FILES_OF_PROCESS.saturating_add(FILES_OF_SHARD.saturating_mul(count(shards)));
    let connections_max = config.limits.connections_max;
    let wanted = own.saturating_add(count(connections_max));
    if limit >= wanted {
        return Finding::ok(SUBJECT, format!("{limit}, for {connections_max} connections"));
    }
    let left = limit.saturating_sub(own);
    let text = format!("{limit}, enough for {left} connections; limits.connections_max is {connections_max}");
    let mend = format!(
        "ulimit -n {wanted} as root; systemd: LimitNOFILE={wanted}; docker run --ulimit nofile={wanted} …"
    );
    let verdict = if left == 0 { Verdict::Refused } else { Verdict::Warning };
    Finding::bad(SUBJECT, verdict, text, mend)
}

fn judge_cores(cores: usize, shards: usize) -> Finding {
    const SUBJECT: &str = "cores";
    if shards > cores {
        let text = format!("{shards} shards share {cores}");
        return Finding::bad(SUBJECT, Verdict::Warning, text, "leave `cores` at 0 to run one shard on each");
    }
    Finding::ok(SUBJECT, format!("{shards} of {cores} that this process may use"))
}

fn judge_backlog(somaxconn: Option<u32>) -> Finding {
    const SUBJECT: &str = "backlog";
    match somaxconn {
        Some(somaxconn) if somaxconn < BACKLOG => Finding::bad(
            SUBJECT,
            Verdict::Warning,
            format!("net.core.somaxconn is {somaxconn}: a burst of connections is cut there"),
            format!("sudo sysctl -w net.core.somaxconn={BACKLOG}"),
        ),
        Some(_) => Finding::ok(SUBJECT, format!("{BACKLOG} connections may wait to be accepted")),
        None => Finding::ok(SUBJECT, "net.core.somaxconn is not shown here".into()),
    }
}

fn judge_port(port: &Port) -> Finding {
    let Port { name, address, state, elsewhere } = port;
    let subject = name.clone();
    let fail = |text: String, mend: String| Finding::bad(name.clone(), Verdict::Refused, text, mend);
    match state {
        PortState::Free => Finding::ok(subject, format!("{address} is free")),
        PortState::Taken(Some(Process { id, name })) => fail(
            format!("{address} is in use by {name} (process {id})"),
            format!("listen at another: {elsewhere}; or have {name} do so, if it is yours"),
        ),
        PortState::Taken(None) => fail(
            format!("{address} is in use"),
            format!(
                "listen at another: {elsewhere}; who has this one, often a broker or a gateway that runs \
                 already, is shown by sudo ss -ltnp 'sport = :{}'",
                address.port()
            ),
        ),
        PortState::Forbidden => fail(
            format!("{address}: ports below 1024 are reserved"),
            "sudo setcap cap_net_bind_service=+ep \"$(command -v strait)\"".into(),
        ),
        PortState::NotOurs => fail(
            format!("{address}: no interface of this host has that address"),
            format!("listen at one that it has, which `ip -brief address` shows: {elsewhere}"),
        ),
        PortState::Failed(why) => {
            fail(format!("cannot listen on {address}: {why}"), format!("listen at another: {elsewhere}"))
        }
    }
}

#[cfg(test)]
mod tests;

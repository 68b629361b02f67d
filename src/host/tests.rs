//! Which facts let the gateway run, and what is advised about the others.

use super::*;

#[test]
fn a_good_host_has_no_findings_but_ok() {
    let findings = judge(&good(), &Config::default());
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::Ok), "{findings:?}");
    assert_eq!(worst_failure(&findings), None);
}

#[test]
fn each_way_of_being_kept_from_io_uring_has_its_own_remedy() {
    let facts = |ring, io_uring_disabled, seccomp| Facts { ring, io_uring_disabled, seccomp, ..good() };
    for (facts, mend) in [
        (facts(Ring::Forbidden, Some(2), true), "sysctl -w kernel.io_uring_disabled=0"),
        (facts(Ring::Forbidden, Some(1), false), "kernel.io_uring_group"),
        (facts(Ring::Forbidden, Some(0), true), "--security-opt seccomp"),
        (facts(Ring::Forbidden, None, true), "--security-opt seccomp"),
        (facts(Ring::Forbidden, Some(0), false), "dmesg"),
        (facts(Ring::Denied, Some(0), true), "dmesg"),
        (facts(Ring::NoSystemCall, None, false), "CONFIG_IO_URING"),
        (facts(Ring::NoSystemCall, None, true), "--security-opt seccomp"),
        (facts(Ring::NoMemory, Some(0), false), "ulimit -l unlimited"),
        (facts(Ring::NoFile, Some(0), false), "ulimit -n"),
        (facts(Ring::Failed("odd".into()), Some(0), false), "strace"),
        (Facts { kernel: "5.7.19-generic".into(), ring: Ring::NotTried, ..good() }, "newer kernel"),
    ] {
        let finding = judge(&facts, &Config::default()).remove(0);
        assert_eq!(finding.verdict, Verdict::NoIoUring);
        assert!(finding.mend.as_ref().is_some_and(|text| text.contains(mend)), "{finding:?}: {mend}");
    }
}

#[test]
fn locked_memory_below_what_one_executor_needs_fails_and_below_what_all_need_warns() {
    assert_eq!(judge_memlock(Some(64 << 10), 1).verdict, Verdict::NoIoUring);
    assert_eq!(judge_memlock(Some(512 << 10), 1).verdict, Verdict::Ok);
    assert_eq!(judge_memlock(Some(512 << 10), 2).verdict, Verdict::Warning);
    assert_eq!(judge_memlock(None, 1024).verdict, Verdict::Ok);
}

#[test]
fn fewer_files_than_connections_warn_with_how_many_there_can_be() {
    let finding = judge_open_files(Some(20_000), &Config::default(), 2);
    assert_eq!(finding.verdict, Verdict::Warning);
    assert!(finding.text.contains("enough for 19872 connections"), "{finding:?}");
    assert!(finding.mend.is_some_and(|mend| mend.contains("ulimit -n 65664")));
    assert_eq!(judge_open_files(Some(65_664), &Config::default(), 2).verdict, Verdict::Ok);
    assert_eq!(judge_open_files(Some(64), &Config::default(), 2).verdict, Verdict::Refused);
}

#[test]
fn more_shards_than_cores_run_but_are_mentioned() {
    let config = Config { cores: 4, ..Config::default() };
    assert_eq!(shards(&config, 2), 4);
    assert_eq!(shards(&Config::default(), 2), 2);
    assert_eq!(judge_cores(2, 4).verdict, Verdict::Warning);
}

#[test]
fn a_taken_port_names_its_address_and_its_process() {
    let taken = |process| Port {
        name: "mqtt".into(),
        elsewhere: "strait --mqtt ADDR".into(),
        state: PortState::Taken(process),
        ..good().ports.remove(0)
    };
    let finding = judge_port(&taken(Some(Process { id: 7, name: "mosquitto".into() })));
    assert_eq!(finding.text, "127.0.0.1:1883 is in use by mosquitto (process 7)");
    let mend = finding.mend.unwrap();
    assert!(mend.contains("strait --mqtt ADDR") && !mend.contains("kill"), "{mend}");
    let mend = judge_port(&taken(None)).mend.unwrap();
    assert!(mend.contains("strait --mqtt ADDR") && mend.contains("sport = :1883"), "{mend}");
}

#[test]
fn missing_io_uring_outweighs_a_taken_port() {
    let mut facts = good();
    facts.ports[0].state = PortState::Taken(None);
    assert_eq!(worst_failure(&judge(&facts, &Config::default())), Some(Verdict::Refused));
    facts.ring = Ring::Forbidden;
    assert_eq!(worst_failure(&judge(&facts, &Config::default())), Some(Verdict::NoIoUring));
}

#[test]
fn kernels_before_5_8_do_not_suffice() {
    for (release, expected) in
        [("5.13.0", true), ("5.12.19", false), ("4.18.0-553.el8", false), ("6.12", true), ("unknown", true)]
    {
        assert_eq!(kernel_suffices(release), expected, "{release}");
    }
}

#[test]
fn findings_stand_in_columns_however_long_a_listeners_name_is() {
    let findings = [
        Finding::ok("io_uring", "here".into()),
        Finding::bad("nats.listeners.plant", Verdict::Refused, "taken", "move"),
    ];
    let expected = "ok       io_uring             here\n\
                    failure  nats.listeners.plant taken\n                              mend: move\n";
    assert_eq!(in_columns(findings.iter()), expected);
}

fn good() -> Facts {
    Facts {
        kernel: "6.12.1".into(),
        ring: Ring::Made,
        io_uring_disabled: Some(0),
        seccomp: false,
        memlock_bytes: Some(8 << 20),
        open_files: Some(1 << 20),
        cores: 2,
        somaxconn: Some(4096),
        ports: vec![Port {
            name: "mqtt".into(),
            elsewhere: "strait --mqtt ADDR".into(),
            address: SocketAddr::from(([127, 0, 0, 1], 1883)),
            state: PortState::Free,
        }],
    }
}

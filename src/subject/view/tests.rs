//! Views against their law: what is exchanged inwards is the topic with slashes, what a client sees of a topic is
//! that topic with dots, and nothing becomes a name of the protocols' own.

use super::*;
use crate::subject::{has_wildcard, tokens};
use proptest::prelude::*;

fn emqx(mount: &str) -> View {
    View::new(mount.as_bytes().into(), Mapping::Emqx)
}

fn seen(view: &View, subject: &str) -> Option<String> {
    let seen = view.seen(subject.as_bytes()).ok()?;
    Some(String::from_utf8(seen.into_owned()).unwrap())
}

fn subject_of(topic: &str) -> String {
    let mut subject = Vec::new();
    mapping::topic_to_subject(topic.as_bytes(), &mut subject);
    String::from_utf8(subject).unwrap()
}

/// The topic that a subject spells.
fn topic_of(subject: &[u8]) -> Option<Vec<u8>> {
    let mut topic = Vec::new();
    mapping::subject_to_topic(subject, &mut topic).then_some(topic)
}

#[test]
fn names_are_exchanged_plainly() {
    let view = emqx("");
    for (written, topic) in [
        ("a.b.c", "a/b/c"),
        ("a/b.c", "a/b/c"),
        ("$SYS.broker.uptime", "$SYS/broker/uptime"),
        ("a.*", "a/*"),
        ("a.>", "a/>"),
        ("/a", "/a"),
        ("ü.x", "ü/x"),
        ("a.\u{1}", "a/\u{1}"),
    ] {
        let canonical = view.canonical(written.as_bytes());
        assert_eq!(topic_of(&canonical).as_deref(), Some(topic.as_bytes()), "{written}");
        assert!(view.has_topic(written.as_bytes()));
    }
    for stays in ["a.b+", "a.#", "a..b", "_INBOX.x.1", "$STRAIT.CLIENT.x", "_INBOX/strait.0", "a."] {
        assert_eq!(&*view.canonical(stays.as_bytes()), stays.as_bytes());
    }
    assert!(!view.has_topic(b"a.b+") && !view.has_topic(b"a..b") && !view.has_topic(b"_INBOX/strait.0"));
    assert_eq!(&*view.canonical(b"a.\xff"), b"a.\xff");
}

#[test]
fn what_a_client_sees_is_the_topic_with_dots_or_nothing() {
    let view = emqx("");
    for (topic, name) in [
        ("a/b", Some("a.b")),
        ("a.b/c", Some("a.b.c")),
        ("spBv1.0/x", Some("spBv1.0.x")),
        ("$SYS/broker", Some("$SYS.broker")),
        ("ü/x", Some("ü.x")),
        ("_INBOX/x", Some("_INBOX.x")),
        ("/a", None),
        ("a/", None),
        ("a//b", None),
        ("a/./b", None),
        ("a b/c", None),
        ("a/\t", None),
        ("a/*", None),
        ("a/>", None),
        // What would be taken for another's.
        ("$STRAIT/CLIENT/x", None),
        ("_INBOX.x/y", None),
        ("$NRG/x", None),
    ] {
        assert_eq!(seen(&view, &subject_of(topic)).as_deref(), name, "{topic}");
    }
    for (subject, name) in [
        ("x.#", None),
        ("$JS.API.INFO", None),
        ("a/b", None),
        ("_INBOX.x/y", Some("_INBOX.x/y")),
        ("$STRAIT.CLIENT.a//b", Some("$STRAIT.CLIENT.a//b")),
    ] {
        assert_eq!(seen(&view, subject).as_deref(), name, "{subject}");
    }
}

#[test]
fn a_reply_is_shown_where_it_leads_back() {
    let view = emqx("");
    let shown = |reply: &str| view.seen_reply(reply.as_bytes()).map(Cow::into_owned);
    assert_eq!(shown("a.b").as_deref(), Some(b"a.b".as_slice()));
    assert_eq!(shown("_INBOX.a/b.1").as_deref(), Some(b"_INBOX.a/b.1".as_slice()));
    assert_eq!(shown("/24x.y").as_deref(), Some(b"$x.y".as_slice()));
    // The topic `a.b`, which this client can't address.
    assert_eq!(shown("a//b"), None);
    assert_eq!(shown("/.a"), None);
}

#[test]
fn filters_are_topic_filters() {
    let view = emqx("");
    let filters = |filter: &str| {
        let MappedFilter { filter, parent, begins_with_wildcard } = view.filter(filter.as_bytes()).ok()?;
        let text = |filter: &SubjectFilter| String::from_utf8(filter.as_bytes().to_vec()).unwrap();
        Some((text(&filter), parent.as_ref().map(text), begins_with_wildcard))
    };
    let one = |filter: &str| Some((filter.to_owned(), None, false));
    assert_eq!(filters("a.*.b"), one("a.*.b"));
    assert_eq!(filters("a.>"), Some(("a.>".into(), Some("a".into()), false)));
    assert_eq!(filters(">"), Some((">".into(), None, true)));
    assert_eq!(filters("$SYS.>"), Some(("/24SYS.>".into(), Some("/24SYS".into()), false)));
    assert_eq!(filters("a.+"), one("a.*"));
    assert_eq!(filters("_INBOX.x.>"), one("_INBOX.x.>"));
    for wrong in ["a..b", "a.>.b", "a.b+", "", "_INBOX/strait.>", "a.\0"] {
        assert_eq!(filters(wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_mount_and_the_exchange_are_one_view() {
    let view = emqx("plant.");
    assert_eq!(&*view.canonical(b"a/b.c"), b"plant.a.b.c");
    assert_eq!(&*view.canonical(b"$x.y"), b"plant.$x.y");
    assert_eq!(&*view.canonical(b"_INBOX.1"), b"plant._INBOX.1");
    assert_eq!(seen(&view, &subject_of("plant/a.b")).as_deref(), Some("a.b"));
    assert_eq!(seen(&view, &subject_of("plant/$x/y")).as_deref(), Some("$x.y"));
    assert_eq!(view.seen(b"other.a"), Err(Unseen::Elsewhere));
    let mapped = view.filter(b"a.>").unwrap();
    assert_eq!(
        (mapped.filter.as_bytes(), mapped.parent.unwrap().as_bytes()),
        (&b"plant.a.>"[..], &b"plant.a"[..])
    );
    assert!(!view.filter(b">").unwrap().begins_with_wildcard);
}

/// Texts of letters that mean something to either world.
fn names() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("a"),
            Just("b"),
            Just("."),
            Just("/"),
            Just("*"),
            Just(">"),
            Just("+"),
            Just("#"),
            Just(" "),
            Just("$"),
            Just("_INBOX"),
            Just("$STRAIT"),
            Just("ü"),
            Just("\u{7f}"),
            Just("2a"),
            Just("24"),
        ],
        1..9,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn what_is_seen_of_a_topic_is_it_with_dots_and_one_name_of_nats(topic in names()) {
        let topic = topic.replace(['+', '#'], "c");
        for mount in ["", "m."] {
            let whole = if mount.is_empty() { topic.clone() } else { format!("m/{topic}") };
            let Ok(name) = emqx(mount).seen(subject_of(&whole).as_bytes()).map(Cow::into_owned) else { continue };
            // One of the protocols' own is what it is to everybody.
            let subject = subject_of(&whole);
            let inside = subject.strip_prefix(mount).unwrap();
            let is_own = emqx::is_own(inside.as_bytes());
            let expected = if is_own { inside.to_owned() } else { topic.replace('/', ".") };
            prop_assert_eq!(std::str::from_utf8(&name).unwrap(), expected);
            prop_assert!(is_well_formed(&name) && !has_wildcard(&name));
            prop_assert!(!name.iter().any(|byte| matches!(byte, 0..=0x20 | 0x7f)));
            prop_assert_eq!(emqx::is_own(&name), is_own);
        }
    }

    #[test]
    fn what_is_written_is_the_topic_with_slashes_or_stays_as_it_is(name in names()) {
        for mount in ["", "m."] {
            let view = emqx(mount);
            let canonical = view.canonical(name.as_bytes()).into_owned();
            let inside = canonical.strip_prefix(mount.as_bytes()).unwrap();
            prop_assert!(!emqx::is_own(inside) || inside == name.as_bytes());
            if view.has_topic(name.as_bytes()) && !emqx::is_own(name.as_bytes()) {
                let whole = mount.replace('.', "/") + &name.replace('.', "/");
                prop_assert_eq!(topic_of(&canonical), Some(whole.into_bytes()));
            } else {
                prop_assert_eq!(inside, name.as_bytes());
            }
        }
    }

    #[test]
    fn a_client_hears_what_it_publishes_to_a_name_that_it_subscribes_to(name in names()) {
        let view = emqx("");
        if let Ok(mapped) = view.filter(name.as_bytes())
            && !has_wildcard(mapped.filter.as_bytes())
        {
            prop_assert!(mapped.filter.matches(&view.canonical(name.as_bytes())));
            prop_assert_eq!(tokens(mapped.filter.as_bytes()).count(), tokens(&view.canonical(name.as_bytes())).count());
        }
    }
}

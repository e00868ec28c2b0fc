//! Topic names, filters, and which match which (section 4.7).

use super::topic::*;
use super::TopicError;

#[test]
fn names() {
    for name in [
        "a", "/", "a/b", "/a", "a/", "a//b", "$SYS/x", " ", "ä", "\u{feff}",
    ] {
        assert_eq!(check_name(name), Ok(()), "{name}");
    }
    assert_eq!(check_name(&"a".repeat(65535)), Ok(()));
    for (name, error) in [
        ("", TopicError::Empty),
        ("a\0b", TopicError::Nul),
        ("a+", TopicError::Wildcard),
        ("a/#", TopicError::Wildcard),
        ("+", TopicError::Wildcard),
    ] {
        assert_eq!(check_name(name), Err(error), "{name}");
    }
    let length = 65536;
    assert_eq!(
        check_name(&"a".repeat(length)),
        Err(TopicError::TooLong { length })
    );
}

#[test]
fn filters() {
    for filter in [
        "a",
        "#",
        "+",
        "/",
        "/+",
        "+/",
        "+/+",
        "a/+/b",
        "a/#",
        "+/a/#",
        "$SYS/#",
        "$share",
        "$shared/+",
        "$share/g/a",
        "$share/g//",
        "$share/g/#",
        "$share/g/+/a",
        "$share/$/$SYS",
    ] {
        assert_eq!(check_filter(filter), Ok(()), "{filter}");
    }
    for (filter, error) in [
        ("", TopicError::Empty),
        ("\0", TopicError::Nul),
        ("a#", TopicError::MisplacedHash),
        ("#/a", TopicError::MisplacedHash),
        ("a/#/b", TopicError::MisplacedHash),
        ("##", TopicError::MisplacedHash),
        ("a/#/", TopicError::MisplacedHash),
        ("a+", TopicError::MisplacedPlus),
        ("+a/b", TopicError::MisplacedPlus),
        ("a/++", TopicError::MisplacedPlus),
        ("$share/", TopicError::ShareGroup),
        ("$share//a", TopicError::ShareGroup),
        ("$share/+/a", TopicError::ShareGroup),
        ("$share/g#/a", TopicError::ShareGroup),
        ("$share/g", TopicError::ShareFilter),
        ("$share/g/", TopicError::ShareFilter),
        ("$share/g/a+", TopicError::MisplacedPlus),
        ("$share/g/#/a", TopicError::MisplacedHash),
    ] {
        assert_eq!(check_filter(filter), Err(error), "{filter}");
        assert!(!error.to_string().is_empty());
    }
    let length = 70_000;
    let error = TopicError::TooLong { length };
    assert_eq!(check_filter(&"a".repeat(length)), Err(error));
    assert!(error.to_string().contains("70000"));
    assert_eq!(check_unshared_filter("$share/g"), Ok(()));
    assert_eq!(
        check_unshared_filter("$share/a+"),
        Err(TopicError::MisplacedPlus)
    );
}

#[test]
fn shared_filters() {
    assert_eq!(shared_filter("$share/g/a/b"), Some(("g", "a/b")));
    assert_eq!(shared_filter("$share/g//"), Some(("g", "/")));
    for other in [
        "a",
        "$share",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
        "x$share/g/a",
    ] {
        assert_eq!(shared_filter(other), None, "{other}");
    }
}

#[test]
fn matching() {
    for (filter, name) in [
        // Section 4.7.1.2.
        ("sport/tennis/player1/#", "sport/tennis/player1"),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/score/wimbledon",
        ),
        ("sport/#", "sport"),
        ("#", "a/b"),
        // Section 4.7.1.3.
        ("sport/tennis/+", "sport/tennis/player1"),
        ("sport/+", "sport/"),
        ("+/+", "/finance"),
        ("/+", "/finance"),
        ("+", "finance"),
        ("+/tennis/#", "sport/tennis"),
        // Section 4.7.2.
        ("$SYS/#", "$SYS/a"),
        ("$SYS/#", "$SYS"),
        ("$SYS/monitor/+", "$SYS/monitor/clients"),
        ("a/#", "a/$b"),
        ("a/+", "a/$b"),
        // Section 4.7.3.
        ("ACCOUNTS", "ACCOUNTS"),
        ("a//b", "a//b"),
        ("a/+/b", "a//b"),
    ] {
        assert!(matches(filter, name), "{filter} {name}");
    }
    for (filter, name) in [
        ("sport/tennis/+", "sport/tennis/player1/ranking"),
        ("sport/+", "sport"),
        ("+", "/finance"),
        ("#", "$SYS/a"),
        ("+/monitor/clients", "$SYS/monitor/clients"),
        ("+", "$SYS"),
        ("ACCOUNTS", "Accounts"),
        ("/a", "a"),
        ("a/", "a"),
        ("a", "a/"),
        ("a/b/#", "a"),
        ("a/b", "a/bc"),
    ] {
        assert!(!matches(filter, name), "{filter} {name}");
    }
}

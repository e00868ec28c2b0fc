//! Messages to the server: receipts, the window, what is sent again, and what cannot be sent.

use super::*;

#[test]
fn a_receipt_answers_and_without_one_what_is_written_does() -> Outcome {
    for pair in all(&[]) {
        let mut pair = pair.ready()?;
        pair.emit(Some(1), 0, "/queue/q", "x")?;
        pair.settle()?;
        assert_eq!(pair.told(), [done(1)]);
        pair.emit(Some(2), NO_RECEIPT, "/queue/q", "y")?;
        pair.transmit_only();
        pair.transmit_only();
        assert_eq!(pair.told(), [], "it is in the out-buffer still");
        pair.settle()?;
        assert_eq!(pair.told(), [done(2)]);
        assert_eq!(
            pair.log(),
            [
                "SEND destination=/queue/q receipt=0 | x",
                "SEND destination=/queue/q | y"
            ]
        );
        pair.emit(Some(3), NO_RECEIPT, "/queue/q", "z")?;
        pair.transmit_only();
        pair.lose();
        assert_eq!(pair.told(), [failed(3, "lost")]);
        assert_eq!(pair.client.counters().in_flight, 0);
    }
    Ok(())
}

#[test]
fn headers_prefix_and_bodies_reach_the_wire() -> Outcome {
    for pair in all(&[("prefix", text("/topic"))]) {
        let mut pair = pair.ready()?;
        let given = map(&[(
            "header",
            map(&[
                ("content-type", text("text/plain")),
                ("priority", number(4)),
                ("x", text("a:b")),
            ]),
        )]);
        pair.emit_with(Some(1), 0, ("/a", "\0\n"), Some(&given))?;
        pair.emit(None, NO_RECEIPT, "", "")?;
        pair.settle()?;
        assert_eq!(
            pair.log(),
            [
                "SEND destination=/topic/a content-type=text/plain priority=4 x=a:b receipt=0 \
                 | \0\n",
                "SEND destination=/topic",
            ]
        );
    }
    Ok(())
}

#[test]
fn the_client_s_default_is_overruled_by_the_message() -> Outcome {
    let mut pair = wired(&[("receipt", Value::Boolean(false))]).ready()?;
    pair.emit(Some(1), 0, "/q", "x")?;
    pair.emit(Some(2), RECEIPT, "/q", "y")?;
    pair.settle()?;
    assert_eq!(
        pair.log(),
        [
            "SEND destination=/q | x",
            "SEND destination=/q receipt=0 | y"
        ]
    );
    assert_eq!(pair.told(), [done(2), done(1)]);
    Ok(())
}

#[test]
fn what_cannot_be_sent_is_refused() -> Outcome {
    let mut pair = wired(&[("content_length", Value::Boolean(false))]).ready()?;
    for (target, payload) in [("", "x"), ("/q\0", "x"), ("/q", "a\0b")] {
        let outcome = pair.emit(Some(1), 0, target, payload);
        assert_eq!(outcome.map_err(|error| error.code), Err(Code::Invalid));
    }
    for header in [
        "destination",
        "receipt",
        "transaction",
        "content-length",
        "",
    ] {
        let given = map(&[("header", map(&[(header, text("x"))]))]);
        let outcome = pair.emit_with(Some(1), 0, ("/q", "x"), Some(&given));
        assert_eq!(outcome.map_err(|error| error.code), Err(Code::Invalid));
    }
    let given = map(&[("header", map(&[("x", Value::List(vec![number(1)]))]))]);
    let outcome = pair.emit_with(Some(1), 0, ("/q", "x"), Some(&given));
    assert_eq!(outcome.map_err(|error| error.code), Err(Code::Invalid));
    pair.emit(None, NO_RECEIPT, "/q", "text")?;
    pair.settle()?;
    assert_eq!(pair.peer.got, ["text"]);
    assert_eq!(pair.told(), []);
    Ok(())
}

#[test]
fn receipts_come_in_any_order() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.withholds = true;
    for ticket in 1..=4 {
        pair.emit(Some(ticket), 0, "/q", "x")?;
    }
    pair.settle()?;
    for (receipt, ticket) in [("2", 3), ("0", 1), ("3", 4)] {
        pair.hears(Word::Receipt, &[("receipt-id", receipt)], "")?;
        assert_eq!(pair.told(), [done(ticket)]);
    }
    for other in ["2", "99", "x", "", "18446744073709551616"] {
        pair.hears(Word::Receipt, &[("receipt-id", other)], "")?;
    }
    pair.hears(Word::Receipt, &[], "")?;
    assert_eq!(pair.told(), []);
    assert_eq!(pair.client.counters().in_flight, 1);
    Ok(())
}

#[test]
fn what_has_no_receipt_is_sent_again_in_order_and_before_what_is_new() -> Outcome {
    for pair in all(&[]) {
        let mut pair = pair.ready()?;
        pair.peer.withholds = true;
        for (ticket, payload) in [(1, "a"), (2, "b"), (3, "c")] {
            pair.emit(Some(ticket), 0, "/q", payload)?;
        }
        pair.settle()?;
        pair.hears(Word::Receipt, &[("receipt-id", "1")], "")?;
        pair.lose();
        pair.peer.withholds = false;
        pair.emit(Some(4), NO_RECEIPT, "/q", "d")?;
        pair.peer.got.clear();
        assert_eq!(pair.client.counters().in_flight, 2);
        pair.connect().settle()?;
        assert_eq!(pair.peer.got, ["a", "c", "d"]);
        assert_eq!(pair.told(), [done(2), CONNECTED, done(1), done(3), done(4)]);
    }
    Ok(())
}

#[test]
fn no_more_than_the_window_awaits_receipts() -> Outcome {
    let mut pair = wired(&[("max_in_flight", number(3))]).ready()?;
    pair.peer.withholds = true;
    for number in 0..10 {
        pair.emit(None, 0, "/q", &number.to_string())?;
    }
    pair.emit(None, NO_RECEIPT, "/q", "behind")?;
    pair.settle()?;
    assert_eq!(pair.peer.got, ["0", "1", "2"]);
    pair.lose();
    pair.connect().settle()?;
    assert_eq!(pair.peer.got.len(), 6);
    pair.peer.withholds = false;
    for receipt in ["0", "1", "2"] {
        pair.hears(Word::Receipt, &[("receipt-id", receipt)], "")?;
    }
    assert_eq!(pair.peer.got.last().map(String::as_str), Some("behind"));
    assert_eq!(pair.peer.got.len(), 14);
    Ok(())
}

#[test]
fn another_version_may_not_be_able_to_send_it_again() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.withholds = true;
    let given = map(&[("header", map(&[("a", text("b\r"))]))]);
    pair.emit_with(Some(1), 0, ("/q", "x"), Some(&given))?;
    pair.emit(Some(2), 0, "/q", "y")?;
    pair.settle()?;
    pair.lose();
    pair.peer.manners.version = Version::V11;
    pair.peer.withholds = false;
    pair.connect().settle()?;
    assert_eq!(pair.told(), [CONNECTED, failed(1, "invalid"), done(2)]);
    Ok(())
}

#[test]
fn a_frame_larger_than_allowed_ends_the_connection() -> Outcome {
    let given = [("max_packet", number(200))];
    let large = "x".repeat(150);
    for (headers, body) in [
        (vec![("a", &large[..]), ("b", &large[..])], ""),
        (vec![("a", &large[..])], &large[..]),
        (vec![], &"x".repeat(201)[..]),
    ] {
        let mut pair = wired(&given).ready()?;
        let error = pair.hears(Word::Message, &headers, body).err();
        assert_eq!(error.map(|error| error.code), Some(Code::Protocol));
    }
    // Nor is it waited for.
    let mut pair = wired(&given).ready()?;
    let mut front = b"MESSAGE\n".to_vec();
    let outcome = (0..10).try_for_each(|_| {
        front.clear();
        pair.inject(b"header:0123456789012345678\n")
            .or_else(|error| {
                if error.code == Code::Protocol {
                    Err(error)
                } else {
                    Ok(())
                }
            })
    });
    assert!(outcome.is_err());
    Ok(())
}

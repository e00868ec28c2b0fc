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

# What a client of paho does at a broker: paho_main.py PORT 4|5. Prints a line for each thing that went well.
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PORT, VERSION = int(sys.argv[1]), int(sys.argv[2])
NEW = VERSION == mqtt.MQTTv5


class Client:
    """A client that remembers what it was told."""

    def __init__(self, name, expiry=0, will=None):
        self.came = threading.Condition()
        self.told, self.messages = [], []
        clean = {} if NEW else {"clean_session": expiry == 0}
        self.client = mqtt.Client(name, protocol=VERSION, **clean)
        self.client.on_connect = lambda _c, _u, flags, rc, *_: self.note("connect", flags["session present"], int_of(rc))
        self.client.on_subscribe = lambda _c, _u, mid, granted, *_: self.note("subscribe", *map(int_of, granted))
        self.client.on_unsubscribe = lambda *_: self.note("unsubscribe")
        self.client.on_publish = lambda _c, _u, mid: self.note("publish")
        self.client.on_disconnect = lambda _c, _u, rc, *_: self.note("disconnect", int_of(rc))
        self.client.on_message = self.message
        if will:
            self.client.will_set(*will)
        options = {}
        if NEW:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = expiry
            options = {"clean_start": expiry == 0, "properties": properties}
        self.client.connect("127.0.0.1", PORT, **options)
        self.client.loop_start()

    def note(self, *what):
        with self.came:
            self.told.append(what)
            self.came.notify_all()

    def message(self, _client, _userdata, message):
        with self.came:
            self.messages.append(message)
            self.came.notify_all()

    def until(self, true, what):
        with self.came:
            if not self.came.wait_for(true, 10):
                sys.exit("not in time: %s; %s, %d messages" % (what, self.told, len(self.messages)))

    def hears(self, *what):
        self.until(lambda: what in self.told, what)
        self.told.remove(what)
        return self

    def gets(self, count):
        self.until(lambda: len(self.messages) >= count, "%d messages" % count)
        taken, self.messages = self.messages[:count], self.messages[count:]
        return taken

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        return self.hears("subscribe", qos)

    def publish(self, topic, payload, qos, retain=False, properties=None):
        self.client.publish(topic, payload, qos, retain, properties)
        return self.hears("publish")

    def close(self):
        self.client.disconnect()
        self.hears("disconnect", 0)
        self.client.loop_stop()

    def vanish(self):
        """The socket goes without a good-bye."""
        self.client.loop_stop()
        self.client._sock_close()


def int_of(code):
    return code if isinstance(code, int) else code.value


def check(condition, what):
    if not condition:
        sys.exit("wrong: " + what)
    print(what, flush=True)


one, two = Client("paho-1").hears("connect", 0, 0), Client("paho-2").hears("connect", 0, 0)
one.subscribe("paho/+", 2)
for qos in (0, 1, 2):
    payloads = [b"%d %d" % (qos, number) for number in range(50)]
    for payload in payloads:
        two.publish("paho/x", payload, qos)
    got = one.gets(50)
    check([message.payload for message in got] == payloads and {message.qos for message in got} == {qos}, "qos %d" % qos)
big = bytes(range(256)) * 8192
two.publish("paho/x", big, 1)
check(one.gets(1)[0].payload == big, "two megabytes")

two.publish("kept/a", "x", 1, True)
two.publish("kept/b", "y", 1, True)
two.publish("kept/a", "", 1, True)
one.subscribe("kept/#", 1)
got = one.gets(1)[0]
check((got.topic, got.payload, got.retain) == ("kept/b", b"y", True), "retained")
two.publish("kept/b", "", 1, True)
check(one.gets(1)[0].payload == b"", "the end of what was retained")

one.client.unsubscribe("paho/+")
one.hears("unsubscribe")

Client("paho-3", will=("will", "gone", 1, False)).hears("connect", 0, 0)
watcher = Client("paho-4").hears("connect", 0, 0).subscribe("will", 0)
lost = Client("paho-3", will=("will", "again", 1, False)).hears("connect", 0, 0)
check(watcher.gets(1)[0].payload == b"gone", "will of a client that is taken over")
lost.vanish()
check(watcher.gets(1)[0].payload == b"again", "will of a client that is gone")

kept = Client("paho-5", expiry=100).hears("connect", 0, 0).subscribe("away/#", 2)
kept.close()
for qos in (1, 2):
    two.publish("away/x", str(qos), qos)
kept = Client("paho-5", expiry=100).hears("connect", 1, 0)
check([message.payload for message in kept.gets(2)] == [b"1", b"2"], "session")
kept.close()

if NEW:
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    properties.UserProperty = [("a", "1"), ("a", "2")]
    properties.ResponseTopic = "answer"
    properties.CorrelationData = b"\x00\xff"
    properties.MessageExpiryInterval = 1000
    identified = Properties(PacketTypes.SUBSCRIBE)
    identified.SubscriptionIdentifier = 77
    one.client.subscribe("new/#", options=SubscribeOptions(1, noLocal=True), properties=identified)
    one.hears("subscribe", 1)
    one.publish("new/x", "own", 1)
    two.publish("new/x", "x", 1, properties=properties)
    got = one.gets(1)[0]
    seen = got.properties
    check(
        (got.payload, seen.ContentType, seen.UserProperty, seen.ResponseTopic, seen.CorrelationData)
        == (b"x", "text/plain", [("a", "1"), ("a", "2")], "answer", b"\x00\xff")
        and seen.SubscriptionIdentifier == [77] and 990 < seen.MessageExpiryInterval <= 1000,
        "properties",
    )
    one.subscribe("$share/g/shared", 1)
    two.subscribe("$share/g/shared", 1)
    for number in range(10):
        watcher.publish("shared", str(number), 1)
    check(len(one.gets(5)) == 5 and len(two.gets(5)) == 5, "shared")

for client in (one, two, watcher):
    client.close()
check(not one.messages and not two.messages and not watcher.messages, "nothing else")

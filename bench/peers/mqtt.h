/* What the peers on libmosquitto share: connecting with MQTT 5, and a loop of their own.
 *
 * The loop: libmosquitto's own (mosquitto_loop, and the thread of mosquitto_loop_start, which calls it) selects before
 * every single packet, and wakes its thread through a socket pair for every publish. This one waits only when a read
 * has brought nothing new, and its publishes write from the calling thread. Of the three it needs the least CPU for a
 * message: QoS 1 in 9 us, mosquitto_loop 14, threaded 20; QoS 1 out, 20 in flight, 11, 13 and 17. */
#include "common.h"
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <poll.h>

/* Counted up by callbacks: what happened on the connection. */
static long events;
static int connected, subscribed;

static inline void check(int code) {
    if (code != MOSQ_ERR_SUCCESS) die(mosquitto_strerror(code));
}

static inline void on_connected(struct mosquitto *m, void *unused, int code) {
    (void)m, (void)unused;
    if (code) die(mosquitto_reason_string(code));
    connected = 1;
    events++;
}

static inline void on_subscribed(struct mosquitto *m, void *unused, int id, int count, const int *granted) {
    (void)m, (void)unused, (void)id;
    if (count != 1 || granted[0] > 2) die("the broker refused the subscription");
    subscribed = 1;
    events++;
}

/* Handles what is there, or waits for it. To be called until what is waited for has happened. */
static inline void turn(struct mosquitto *m) {
    long before = events;
    check(mosquitto_loop_read(m, 1));
    if (events != before) return;
    struct pollfd p = {.fd = mosquitto_socket(m), .events = POLLIN};
    if (mosquitto_want_write(m)) p.events |= POLLOUT;
    if (poll(&p, 1, 1000) <= 0) check(mosquitto_loop_misc(m));
    if (p.revents & POLLOUT) check(mosquitto_loop_write(m, 1));
}

/* A connected client, which may have `in_flight` unacknowledged messages; the broker as many as it likes. */
static inline struct mosquitto *open_mqtt(const char *port, int in_flight) {
    mosquitto_lib_init();
    struct mosquitto *m = mosquitto_new(NULL, true, NULL);
    if (!m) die("out of memory");
    check(mosquitto_int_option(m, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5));
    check(mosquitto_int_option(m, MOSQ_OPT_TCP_NODELAY, 1));
    check(mosquitto_int_option(m, MOSQ_OPT_RECEIVE_MAXIMUM, 65535));
    check(mosquitto_int_option(m, MOSQ_OPT_SEND_MAXIMUM, in_flight));
    mosquitto_connect_callback_set(m, on_connected);
    mosquitto_subscribe_callback_set(m, on_subscribed);
    check(mosquitto_connect(m, "127.0.0.1", atoi(port), 60));
    while (!connected) turn(m);
    return m;
}

static inline void subscribe(struct mosquitto *m, const char *filter, int qos) {
    check(mosquitto_subscribe(m, NULL, filter, qos));
    while (!subscribed) turn(m);
}

static inline void close_mqtt(struct mosquitto *m) {
    mosquitto_disconnect(m);
    mosquitto_destroy(m);
    mosquitto_lib_cleanup();
}

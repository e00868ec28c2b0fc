/* MO: publishes with IN_FLIGHT unanswered messages at most (QoS 0: unwritten ones), until the last is acknowledged. To
 * QoS 0 one of QoS 1 is added, whose answer says that the broker, too, is through with all before it.
 * mqtt_publish PORT TOPIC COUNT SIZE QOS IN_FLIGHT */
#include "mqtt.h"

static long done;

static void on_published(struct mosquitto *m, void *unused, int id) {
    (void)m, (void)unused, (void)id;
    done++;
    events++;
}

int main(int argc, char **argv) {
    if (argc != 7) die("usage: mqtt_publish PORT TOPIC COUNT SIZE QOS IN_FLIGHT");
    long count = atol(argv[3]), window = atol(argv[6]), sent = 0;
    int size = atoi(argv[4]), qos = atoi(argv[5]);
    struct mosquitto *m = open_mqtt(argv[1], (int)window);
    char *payload = malloc((size_t)size + 1);
    memset(payload, 'x', (size_t)size + 1);
    mosquitto_publish_callback_set(m, on_published);
    double from = now(), cpu_from = cpu();
    while (done < count) {
        /* a publish that the socket takes at once is done when it returns (QoS 0) */
        while (sent < count && sent - done < window) {
            check(mosquitto_publish(m, NULL, argv[2], size, payload, qos, false));
            sent++;
        }
        if (done < count) turn(m);
    }
    if (qos == 0) {
        check(mosquitto_publish(m, NULL, argv[2], size, payload, 1, false));
        while (done == count) turn(m);
    }
    result("seconds", now() - from);
    result("cpu", cpu() - cpu_from);
    close_mqtt(m);
    return 0;
}

/* MR: a message to oneself through the broker, QoS 1, one at a time.  mqtt_pingpong PORT TOPIC COUNT */
#include "mqtt.h"

static int arrived;

static void on_message(struct mosquitto *m, void *unused, const struct mosquitto_message *message) {
    (void)m, (void)unused, (void)message;
    arrived = 1;
    events++;
}

int main(int argc, char **argv) {
    if (argc != 4) die("usage: mqtt_pingpong PORT TOPIC COUNT");
    struct mosquitto *m = open_mqtt(argv[1], 20);
    long count = atol(argv[3]), warm = count / 20;
    double *took = malloc((size_t)count * sizeof *took), cpu_from = 0;
    mosquitto_message_callback_set(m, on_message);
    subscribe(m, argv[2], 1);
    for (long i = -warm; i < count; i++) {
        if (i == 0) cpu_from = cpu();
        double from = now();
        arrived = 0;
        check(mosquitto_publish(m, NULL, argv[2], 4, "ping", 1, false));
        while (!arrived) turn(m);
        if (i >= 0) took[i] = now() - from;
    }
    result("cpu", cpu() - cpu_from);
    percentiles(took, count);
    close_mqtt(m);
    return 0;
}

/* MI: counts the messages of one filter.  mqtt_subscribe PORT FILTER COUNT QOS
 * Says "ready" when subscribed; measures from the first message to the last. */
#include "mqtt.h"

static long seen;
static size_t bytes, topics;
static double from;

static void on_message(struct mosquitto *m, void *unused, const struct mosquitto_message *message) {
    (void)m, (void)unused;
    if (seen++ == 0) from = now();
    bytes += (size_t)message->payloadlen;
    topics += strlen(message->topic);
    events++;
}

int main(int argc, char **argv) {
    if (argc != 5) die("usage: mqtt_subscribe PORT FILTER COUNT QOS");
    struct mosquitto *m = open_mqtt(argv[1], 20);
    long count = atol(argv[3]);
    mosquitto_message_callback_set(m, on_message);
    subscribe(m, argv[2], atoi(argv[4]));
    puts("ready");
    fflush(stdout);
    double cpu_from = cpu();
    while (seen < count) turn(m);
    result("seconds", now() - from);
    result("cpu", cpu() - cpu_from);
    result("bytes", (double)bytes);
    close_mqtt(m);
    return topics ? 0 : 1;
}

/* TO: SENDs written from a buffer, each with a receipt and so many unanswered at most, or none but the last with one.
 * stomp_publish PORT DESTINATION COUNT SIZE RECEIPTS(0|1) IN_FLIGHT */
#include "stomp.h"

enum { BATCH = 250 };

int main(int argc, char **argv) {
    if (argc != 7) die("usage: stomp_publish PORT DESTINATION COUNT SIZE RECEIPTS IN_FLIGHT");
    int fd = open_stomp(argv[1]);
    long count = atol(argv[3]), in_flight = atol(argv[6]), sent = 0, answered = 0;
    int size = atoi(argv[4]);
    bool receipts = atoi(argv[5]) != 0;
    char *payload = malloc((size_t)size + 1);
    memset(payload, 'x', (size_t)size);
    payload[size] = 0;
    size_t longest = strlen(argv[2]) + (size_t)size + 100;
    char *batch = malloc(longest * BATCH);
    double from = now(), cpu_from = cpu();
    while (answered < (receipts ? count : 1)) {
        while (sent < count && !(receipts && sent - answered >= in_flight)) {
            char *end = batch;
            for (int n = 0; n < BATCH && sent < count && !(receipts && sent - answered >= in_flight); n++) {
                end += sprintf(end, "SEND\ndestination:%s\ncontent-length:%d\n", argv[2], size);
                if (receipts || ++sent == count) end += sprintf(end, "receipt:%ld\n", receipts ? ++sent : sent);
                *end++ = '\n';
                memcpy(end, payload, (size_t)size + 1);
                end += size + 1;
            }
            write_all(fd, batch, (size_t)(end - batch));
        }
        answered += read_frames(fd);
    }
    result("seconds", now() - from);
    result("cpu", cpu() - cpu_from);
    close(fd);
    return 0;
}

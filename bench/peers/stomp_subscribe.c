/* TI: counts the NULs behind the messages of one destination: the least that a client can do.
 * stomp_subscribe PORT DESTINATION COUNT.  Says "ready" when subscribed; measures from the first message to the last. */
#include "stomp.h"

int main(int argc, char **argv) {
    if (argc != 4) die("usage: stomp_subscribe PORT DESTINATION COUNT");
    int fd = open_stomp(argv[1]);
    long count = atol(argv[3]), seen = 0;
    char frame[512];
    int length = snprintf(frame, sizeof frame, "SUBSCRIBE\nid:0\ndestination:%s\nack:auto\nreceipt:s\n\n", argv[2]);
    if (length >= (int)sizeof frame) die("the destination is too long");
    write_all(fd, frame, (size_t)length + 1);
    while (read_frames(fd) == 0) {}
    puts("ready");
    fflush(stdout);
    double from = 0, cpu_from = cpu();
    while (seen < count) {
        long frames = read_frames(fd);
        if (seen == 0 && frames > 0) from = now();
        seen += frames;
    }
    result("seconds", now() - from);
    result("cpu", cpu() - cpu_from);
    close(fd);
    return 0;
}

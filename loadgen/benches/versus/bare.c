/* A client that only reads: keeps C requests in flight, looks for nothing but the end of a response, and notes when reads
 * returned. What is lost beyond its figures is lost to parsing and bookkeeping.
 *
 *     bare HOST PORT IN_FLIGHT REQUESTS CHUNKS   ->   one JSON object on standard output
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char REQUEST[] =
    "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 57\r\n\r\n"
    "{\"model\":\"m\",\"prompt\":\"x\",\"max_tokens\":128,\"stream\":true}";
static const char END[] = "0\r\n\r\n";

struct exchange {
    int socket;
    double started_s, last_s;
    int reads;
    char tail[5];
};

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double *values, size_t count, double share) {
    if (count == 0) return 0;
    return values[(size_t)((count - 1) * share)];
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void start(struct exchange *exchange) {
    exchange->reads = 0;
    exchange->started_s = now_s();
    if (write(exchange->socket, REQUEST, sizeof REQUEST - 1) != (ssize_t)(sizeof REQUEST - 1)) fail("write");
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: bare HOST PORT IN_FLIGHT REQUESTS CHUNKS\n");
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &address.sin_addr);
    int in_flight = atoi(argv[3]), chunks = atoi(argv[5]);
    long requests = atol(argv[4]), begun = 0, ended = 0;
    struct exchange *exchanges = calloc(in_flight, sizeof *exchanges);
    double *ttfts = malloc(requests * sizeof *ttfts), *gaps = malloc(requests * (chunks + 2) * sizeof *gaps);
    size_t ttft_count = 0, gap_count = 0, gap_room = (size_t)requests * (chunks + 2);
    int epoll = epoll_create1(0);
    for (int i = 0; i < in_flight; i++) {
        int one = 1;
        exchanges[i].socket = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(exchanges[i].socket, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
        setsockopt(exchanges[i].socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event interest = {.events = EPOLLIN, .data.ptr = &exchanges[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, exchanges[i].socket, &interest);
    }
    double window_s = now_s();
    for (int i = 0; i < in_flight && begun < requests; i++, begun++) start(&exchanges[i]);
    static char buffer[256 * 1024];
    while (ended < requests) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll, events, 256, -1);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct exchange *exchange = events[i].data.ptr;
            ssize_t bytes = read(exchange->socket, buffer, sizeof buffer);
            double read_s = now_s();
            if (bytes <= 0) fail("read");
            if (exchange->reads++ == 0)
                ttfts[ttft_count++] = read_s - exchange->started_s;
            else if (gap_count < gap_room)
                gaps[gap_count++] = read_s - exchange->last_s;
            exchange->last_s = read_s;
            /* The end may come in two reads: the last five bytes of all reads are kept. */
            if (bytes >= 5) {
                memcpy(exchange->tail, buffer + bytes - 5, 5);
            } else {
                memmove(exchange->tail, exchange->tail + bytes, 5 - bytes);
                memcpy(exchange->tail + 5 - bytes, buffer, bytes);
            }
            if (memcmp(exchange->tail, END, 5) != 0) continue;
            ended++;
            if (begun < requests) {
                begun++;
                start(exchange);
            }
        }
    }
    double duration_s = now_s() - window_s;
    qsort(ttfts, ttft_count, sizeof *ttfts, ascending);
    qsort(gaps, gap_count, sizeof *gaps, ascending);
    printf("{\"ttft_p50_ms\":%f,\"ttft_p99_ms\":%f,\"itl_p99_ms\":%f,\"chunks_per_s\":%f}\n",
           percentile(ttfts, ttft_count, 0.5) * 1e3, percentile(ttfts, ttft_count, 0.99) * 1e3,
           percentile(gaps, gap_count, 0.99) * 1e3, (double)requests * chunks / duration_s);
    return 0;
}

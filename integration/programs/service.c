/* What services do, for suites of engines, native or as WebAssembly: "serve PORT" answers every connection with who answers,
 * "spin" computes for ever, "count" says a number ten times a second. WASI preview 1 can't make a listening socket: the
 * functions below are what WasmEdge adds to it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __wasm__
#define KIND "WebAssembly"
#define HOST(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))

struct address {
	uint8_t *bytes;
	uint32_t length;
};
struct vector {
	const char *bytes;
	uint32_t length;
};
enum { INET4 = 1, STREAM = 2 };

HOST(sock_open) int32_t host_open(int32_t family, int32_t type, int32_t *fd);
HOST(sock_bind) int32_t host_bind(int32_t fd, struct address *address, int32_t port);
HOST(sock_listen) int32_t host_listen(int32_t fd, int32_t backlog);
HOST(sock_accept) int32_t host_accept(int32_t fd, int32_t *connection);
HOST(sock_recv) int32_t host_recv(int32_t fd, struct vector *to, int32_t count, int32_t flags, int32_t *got, int32_t *got_flags);
HOST(sock_send) int32_t host_send(int32_t fd, struct vector *from, int32_t count, int32_t flags, int32_t *sent);
HOST(sock_shutdown) int32_t host_shutdown(int32_t fd, int32_t how);

static int listen_on(int port)
{
	uint8_t any[4] = { 0 };
	struct address address = { any, sizeof any };
	int32_t fd;

	if (host_open(INET4, STREAM, &fd) || host_bind(fd, &address, port) || host_listen(fd, 16))
		return -1;
	return fd;
}

static int next(int listener)
{
	int32_t fd;

	return host_accept(listener, &fd) ? -1 : fd;
}

static void answer(int fd, const char *text)
{
	char request[1024];
	struct vector to = { request, sizeof request }, from = { text, strlen(text) };
	int32_t n, flags;

	host_recv(fd, &to, 1, 0, &n, &flags);
	host_send(fd, &from, 1, 0, &n);
	host_shutdown(fd, 2);
	close(fd);
}
#else
#include <arpa/inet.h>
#include <sys/socket.h>
#define KIND "native"

static int listen_on(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 16))
		return -1;
	return fd;
}

static int next(int listener)
{
	return accept(listener, NULL, NULL);
}

static void answer(int fd, const char *text)
{
	char request[1024];

	if (read(fd, request, sizeof request) >= 0 && write(fd, text, strlen(text)) < 0)
		perror("write");
	close(fd);
}
#endif

static int serve(int port)
{
	char text[256];
	int listener = listen_on(port), fd;

	if (listener < 0) {
		fprintf(stderr, "can't listen on port %d\n", port);
		return 1;
	}
	snprintf(text, sizeof text, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n%s %s\n", KIND, getenv("VERSION") ? getenv("VERSION") : "");
	puts("ready");
	fflush(stdout);
	while ((fd = next(listener)) >= 0)
		answer(fd, text);
	return 1;
}

static int spin(void)
{
	volatile uint32_t n = 0;

	puts("ready");
	fflush(stdout);
	for (;;)
		n++;
}

static int count(void)
{
	const struct timespec tenth = { .tv_nsec = 100000000 };

	for (int n = 1;; n++) {
		printf("%s %d\n", KIND, n);
		fflush(stdout);
		nanosleep(&tenth, NULL);
	}
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	if (strcmp(verb, "serve") == 0)
		return serve(argc > 2 ? atoi(argv[2]) : 80);
	if (strcmp(verb, "spin") == 0)
		return spin();
	if (strcmp(verb, "count") == 0)
		return count();
	fprintf(stderr, "unknown verb %s\n", verb);
	return 99;
}

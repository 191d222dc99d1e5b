/* What a guest sees of its container, and how it ends. Each argument is one request, carried out in order; a request that fails
 * prints what and why and goes on. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void complain(const char *what, const char *object)
{
	printf("%s %s: %s\n", what, object, strerror(errno));
}

static void read_file(const char *path)
{
	char block[4096];
	size_t n;
	FILE *file = fopen(path, "r");

	if (file == NULL) {
		complain("read", path);
		return;
	}
	while ((n = fread(block, 1, sizeof block, file)) > 0)
		fwrite(block, 1, n, stdout);
	fclose(file);
}

static void write_file(const char *path)
{
	FILE *file = fopen(path, "w");

	if (file == NULL || fputs("written\n", file) < 0 || fclose(file) != 0)
		complain("write", path);
}

/* Opens for writing what is there, without making or shortening it. */
static void open_file(const char *path)
{
	FILE *file = fopen(path, "r+");

	if (file == NULL)
		complain("open", path);
	else
		printf("open %s: done\n", path);
}

static void list(const char *path)
{
	struct dirent *entry;
	DIR *folder = opendir(path);

	if (folder == NULL) {
		complain("list", path);
		return;
	}
	while ((entry = readdir(folder)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			printf("%s\n", entry->d_name);
	closedir(folder);
}

static void flood(long megabytes)
{
	static char block[1 << 16];

	memset(block, 'x', sizeof block);
	for (long n = megabytes * 16; n > 0; n--)
		for (size_t done = 0; done < sizeof block;) {
			ssize_t some = write(1, block + done, sizeof block - done);
			if (some < 0)
				exit(1);
			done += some;
		}
}

/* The time of day in seconds, and how many milliseconds a sleep of 50 took. */
static void clocks(void)
{
	const struct timespec nap = { .tv_nsec = 50 * 1000 * 1000 };
	struct timespec before, after;

	clock_gettime(CLOCK_MONOTONIC, &before);
	nanosleep(&nap, NULL);
	clock_gettime(CLOCK_MONOTONIC, &after);
	printf("%lld %lld\n", (long long)time(NULL),
	       (after.tv_sec - before.tv_sec) * 1000LL + (after.tv_nsec - before.tv_nsec) / 1000000);
}

static void random_bytes(void)
{
	unsigned char bytes[16];

	if (getentropy(bytes, sizeof bytes) != 0) {
		complain("random", "bytes");
		return;
	}
	for (size_t i = 0; i < sizeof bytes; i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

/* Counts, a line for each number, for ever. */
static void count(void)
{
	for (unsigned long n = 1;; n++) {
		printf("%lu\n", n);
		fflush(stdout);
		for (volatile long busy = 0; busy < 20000; busy++)
			;
	}
}

static int is(const char *word, const char *verb, const char **object)
{
	size_t n = strlen(verb);

	if (strncmp(word, verb, n) != 0 || word[n] != '=')
		return 0;
	*object = word + n + 1;
	return 1;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *object;

		if (is(argv[i], "read", &object))
			read_file(object);
		else if (is(argv[i], "write", &object))
			write_file(object);
		else if (is(argv[i], "open", &object))
			open_file(object);
		else if (is(argv[i], "list", &object))
			list(object);
		else if (is(argv[i], "flood", &object))
			flood(atol(object));
		else if (is(argv[i], "exit", &object))
			exit(atoi(object));
		else if (is(argv[i], "tty", &object))
			printf("%s\n", isatty(atoi(object)) ? "terminal" : "no terminal");
		else if (strcmp(argv[i], "env") == 0)
			for (char **variable = environ; *variable != NULL; variable++)
				printf("%s\n", *variable);
		else if (strcmp(argv[i], "args") == 0)
			for (int n = 0; n < argc; n++)
				printf("[%s]\n", argv[n]);
		else if (strcmp(argv[i], "clocks") == 0)
			clocks();
		else if (strcmp(argv[i], "random") == 0)
			random_bytes();
		else if (strcmp(argv[i], "count") == 0)
			count();
		else if (strcmp(argv[i], "spin") == 0) {
			puts("ready");
			fflush(stdout);
			for (volatile unsigned long n = 0;; n++)
				;
		} else
			printf("unknown request %s\n", argv[i]);
		fflush(stdout);
	}
	return 0;
}

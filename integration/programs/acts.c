/* What a payload does in the lifecycle cases, for WebAssembly: the first argument names the act, the second is its object. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int copy(void)
{
	char block[4096];
	size_t n;

	while ((n = fread(block, 1, sizeof block, stdin)) > 0)
		fwrite(block, 1, n, stdout);
	return ferror(stdin) || fflush(stdout);
}

static int sleep_for_ever(void)
{
	const struct timespec long_time = { .tv_sec = 1000 };

	puts("ready");
	fflush(stdout);
	for (;;)
		nanosleep(&long_time, NULL);
}

int main(int argc, char **argv)
{
	const char *act = argc > 1 ? argv[1] : "";
	const char *object = argc > 2 ? argv[2] : "";

	if (strcmp(act, "exit") == 0)
		return atoi(object);
	if (strcmp(act, "sleep") == 0)
		return sleep_for_ever();
	if (strcmp(act, "print") == 0)
		return puts(object) < 0;
	if (strcmp(act, "complain") == 0)
		return fprintf(stderr, "%s\n", object) < 0;
	if (strcmp(act, "copy") == 0)
		return copy();
	if (strcmp(act, "env") == 0)
		return puts(getenv(object) ? getenv(object) : "") < 0;
	fprintf(stderr, "unknown act %s\n", act);
	return 99;
}

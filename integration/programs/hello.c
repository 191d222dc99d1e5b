/* Says who it is and what it was given: the same source makes the native and the wasm program.
 * Its one optional argument asks for more: "exit N", "env NAME", "cat" (stdin to stdout), "wait" (until a signal comes). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __wasm__
#define KIND "WebAssembly"
#else
#define KIND "native Linux"
#endif

static int cat(void)
{
	char block[4096];
	size_t n;

	while ((n = fread(block, 1, sizeof block, stdin)) > 0)
		if (fwrite(block, 1, n, stdout) != n)
			return 1;
	return ferror(stdin) || fflush(stdout) ? 1 : 0;
}

static void hello(int argc, char **argv)
{
	printf("Hello from a %s program in C.\n", KIND);
	for (int i = 0; i < argc; i++)
		printf("argv[%d] = %s\n", i, argv[i]);
}

static int wait_for_signal(void)
{
	const struct timespec second = { .tv_sec = 1 };

	fflush(stdout);
	for (;;)
		nanosleep(&second, NULL);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	const char *word = argc > 2 ? argv[2] : "";

	if (strcmp(verb, "exit") == 0)
		return atoi(word);
	if (strcmp(verb, "env") == 0)
		return printf("%s\n", getenv(word) ? getenv(word) : "(unset)") < 0;
	if (strcmp(verb, "cat") == 0)
		return cat();
	hello(argc, argv);
	return strcmp(verb, "wait") == 0 ? wait_for_signal() : 0;
}

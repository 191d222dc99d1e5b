/* Calls: fib(38), doubly recursive. */
#include <stdio.h>
#include <stdlib.h>

static unsigned fib(unsigned n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

int main(int argc, char **argv)
{
	printf("%u\n", fib(argc > 1 ? atoi(argv[1]) : 38));
}

/* Takes memory until there is no more, touching every page; prints how many MiB it got, then what is asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 65536

int main(int argc, char **argv)
{
	long limit = argc > 1 ? atol(argv[1]) : 1 << 16;
	long pages = 0;

	while (pages < limit) {
		size_t old = __builtin_wasm_memory_grow(0, 1);
		if (old == (size_t)-1)
			break;
		memset((char *)(old * PAGE), 1, PAGE);
		pages++;
	}
	printf("%ld\n", pages / 16);
	return 0;
}

/* Integers and memory: SHA-256 over 100 MB. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
static uint32_t constants[64];

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static void make_constants(void)
{
	int found = 0;
	for (uint64_t p = 2; found < 64; p++) {
		int prime = 1;
		for (uint64_t d = 2; d * d <= p; d++)
			prime &= p % d != 0;
		if (!prime)
			continue;
		/* root = floor(cbrt(p) * 2^32), bit by bit; its cube needs more than 64 bits. */
		unsigned __int128 root = 0;
		for (int bit = 35; bit >= 0; bit--) {
			unsigned __int128 next = root | (unsigned __int128)1 << bit;
			if (next * next * next <= (unsigned __int128)p << 96)
				root = next;
		}
		constants[found++] = (uint32_t)root;
	}
}

static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void block(const uint8_t *in)
{
	uint32_t w[64], s[8];
	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)in[4 * i] << 24 | in[4 * i + 1] << 16 | in[4 * i + 2] << 8 | in[4 * i + 3];
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3) +
		       (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
	memcpy(s, state, sizeof s);
	for (int i = 0; i < 64; i++) {
		uint32_t a = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) +
			     constants[i] + w[i];
		uint32_t b = (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) +
			     ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
		memmove(s + 1, s, 7 * sizeof *s);
		s[4] += a;
		s[0] = a + b;
	}
	for (int i = 0; i < 8; i++)
		state[i] += s[i];
}

int main(int argc, char **argv)
{
	uint32_t megabytes = argc > 1 ? atoi(argv[1]) : 100;
	static uint8_t data[1 << 20];
	make_constants();
	for (uint32_t i = 0; i < sizeof data; i++)
		data[i] = i * 2654435761u >> 24;
	for (uint32_t m = 0; m < megabytes; m++)
		for (uint32_t at = 0; at < sizeof data; at += 64)
			block(data + at);
	uint8_t end[64] = { 0x80 };
	for (int i = 0; i < 8; i++)
		end[63 - i] = (uint64_t)megabytes * sizeof data * 8 >> (8 * i);
	block(end);
	for (int i = 0; i < 8; i++)
		printf("%08x", state[i]);
	puts("");
}

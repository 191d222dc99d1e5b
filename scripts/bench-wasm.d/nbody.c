/* Floating point: five bodies attract each other for some million steps. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BODIES 5

static double place[BODIES][3], speed[BODIES][3], mass[BODIES];

static void make(void)
{
	for (int i = 0; i < BODIES; i++) {
		mass[i] = i == 0 ? 40 : 0.02 / i;
		for (int k = 0; k < 3; k++) {
			place[i][k] = i * (5.0 + k) * (k == 1 ? -1 : 1);
			speed[i][k] = i * (k == 0 ? 0.3 : -0.2 / (k + i + 1));
		}
	}
}

static void step(double time)
{
	for (int i = 0; i < BODIES; i++)
		for (int j = i + 1; j < BODIES; j++) {
			double away[3], square = 0.01;
			for (int k = 0; k < 3; k++) {
				away[k] = place[i][k] - place[j][k];
				square += away[k] * away[k];
			}
			double pull = time / (square * sqrt(square));
			for (int k = 0; k < 3; k++) {
				speed[i][k] -= away[k] * mass[j] * pull;
				speed[j][k] += away[k] * mass[i] * pull;
			}
		}
	for (int i = 0; i < BODIES; i++)
		for (int k = 0; k < 3; k++)
			place[i][k] += time * speed[i][k];
}

int main(int argc, char **argv)
{
	int steps = argc > 1 ? atoi(argv[1]) : 2000000;
	make();
	for (int i = 0; i < steps; i++)
		step(0.001);
	printf("%.6f\n", place[1][0]);
}

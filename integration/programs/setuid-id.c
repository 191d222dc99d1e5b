/* Installed setuid root: says whose rights it got, so that a test sees whether no_new_privs held. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	printf("uid=%d euid=%d\n", (int)getuid(), (int)geteuid());
	return 0;
}

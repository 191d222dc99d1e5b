/* Counts in /count for as long as something holds that CRIU saves only when asked to:
     lock FILE    a lock of the whole file
     unix PATH    datagrams to a socket outside
     unlinked FILE  a file that has lost this name and still has another */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int tie;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void tell(long n)
{
	FILE *file = fopen("/count.new", "w");
	if (!file || fprintf(file, "%ld\n", n) < 0 || fclose(file) || rename("/count.new", "/count"))
		die("/count");
}

static void lock(const char *path)
{
	tie = open(path, O_RDWR | O_CREAT, 0644);
	if (tie < 0 || flock(tie, LOCK_EX | LOCK_NB))
		die(path);
}

static void outside(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	strncpy(at.sun_path, path, sizeof at.sun_path - 1);
	tie = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (tie < 0 || connect(tie, (struct sockaddr *)&at, sizeof at))
		die(path);
}

static void unlinked(const char *path)
{
	char other[256];
	snprintf(other, sizeof other, "%s.other", path);
	tie = open(path, O_RDWR | O_CREAT, 0644);
	if (tie < 0 || link(path, other) || unlink(path))
		die(path);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	if (!strcmp(argv[1], "lock"))
		lock(argv[2]);
	else if (!strcmp(argv[1], "unix"))
		outside(argv[2]);
	else
		unlinked(argv[2]);
	for (long n = 1;; n++) {
		if (!strcmp(argv[1], "unix") && write(tie, "x", 1) != 1)
			die("write");
		tell(n);
		usleep(20000);
	}
}

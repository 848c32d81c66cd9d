/* Preloaded: a monotonic clock that goes CLOCK_SPEED times as fast, or stands still. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t which, struct timespec *now)
{
	int failed = syscall(SYS_clock_gettime, which, now);
	const char *speed = getenv("CLOCK_SPEED");
	if (failed || which != CLOCK_MONOTONIC || !speed)
		return failed;
	double ns = (now->tv_sec * 1e9 + now->tv_nsec) * atof(speed);
	now->tv_sec = ns / 1e9;
	now->tv_nsec = (long long)ns % 1000000000;
	return 0;
}

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
	/* In parts, which have room for years of uptime. */
	long long times = atoll(speed), ns = now->tv_nsec * times;
	now->tv_sec = now->tv_sec * times + ns / 1000000000;
	now->tv_nsec = ns % 1000000000;
	return 0;
}

/* What the test programs share: a trace that is the same natively and gated.
 *
 * A trace has no raw ids, addresses or times: errno by name, fields that are determined, and relations.
 * T(call) also checks what each successful call owes its caller: errno as it was. */
#ifndef TRACE_H
#define TRACE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096L
#define FAILED ((void *)-1)
#define UNTOUCHED 4711 /* an errno that no call sets */

__attribute__((unused)) static const char *errname(int number)
{
	const char *name = number == UNTOUCHED ? "errno not set" : strerrorname_np(number);
	return name ? name : "unknown errno";
}

/* One line for a call: its text, and "ok" or errno. */
__attribute__((unused)) static long said(const char *text, long result)
{
	int number = errno;
	if (result == -1)
		printf("%s: %s\n", text, errname(number));
	else
		printf("%s: ok%s\n", text, number == UNTOUCHED ? "" : ", but errno was changed");
	errno = number;
	return result;
}

#define T(call) said(#call, (errno = UNTOUCHED, (long)(call)))
#define TP(call) ((void *)T(call))

/* A segment of one's own that a program starts from. */
__attribute__((unused)) static int private_segment(size_t size, int mode)
{
	int shmid = shmget(IPC_PRIVATE, size, IPC_CREAT | mode);
	if (shmid == -1) {
		printf("no segment to start from: %s\n", errname(errno));
		exit(1);
	}
	return shmid;
}

__attribute__((unused)) static struct shmid_ds status(int shmid)
{
	struct shmid_ds ds;
	memset(&ds, 0, sizeof ds);
	if (shmctl(shmid, IPC_STAT, &ds) == -1)
		printf("IPC_STAT: %s\n", errname(errno));
	return ds;
}

__attribute__((unused)) static long nattch(int shmid)
{
	return (long)status(shmid).shm_nattch;
}

/* What a status says that does not depend on ids and clocks. */
__attribute__((unused)) static void show(const char *text, int shmid)
{
	struct shmid_ds ds = status(shmid);
	printf("%s: key %#x mode %#o segsz %zu nattch %lu cpid %s lpid %s atime %s dtime %s ctime %s\n", text,
	       (unsigned)ds.shm_perm.__key, ds.shm_perm.mode, ds.shm_segsz, (unsigned long)ds.shm_nattch,
	       ds.shm_cpid == getpid() ? "self" : ds.shm_cpid == 0 ? "0" : "other",
	       ds.shm_lpid == getpid() ? "self" : ds.shm_lpid == 0 ? "0" : "other", ds.shm_atime ? "set" : "0",
	       ds.shm_dtime ? "set" : "0", ds.shm_ctime ? "set" : "0");
}

/* Waits for a child and says how it ended. */
__attribute__((unused)) static void ended(const char *text, pid_t pid)
{
	int how = 0;
	while (waitpid(pid, &how, 0) == -1 && errno == EINTR)
		;
	if (WIFSIGNALED(how))
		printf("%s: %s\n", text, sigabbrev_np(WTERMSIG(how)));
	else
		printf("%s: exit %d\n", text, WEXITSTATUS(how));
}

/* Each line at once, so that a fork duplicates nothing. */
__attribute__((constructor, unused)) static void line_by_line(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
}

#endif

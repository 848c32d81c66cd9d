/* What the tests of killed processes share: complaints, the time a call takes, and the books compared with what is there.
 *
 * The time that a thread waited for a processor does not count (/proc/thread-self/schedstat). */
#ifndef BOOKS_H
#define BOOKS_H

#include "trace.h"
#include <dirent.h>
#include <stdarg.h>
#include <stdatomic.h>

#define LATE 100000000L /* ns */

/* How many complaints there were, in memory that the processes share. */
static _Atomic int *wrong;
/* The namespace's, and the command that says whether it is whole. */
static const char *directory;
static char **check;

static void complain(const char *format, ...)
{
	char line[400];
	va_list rest;
	va_start(rest, format);
	int length = vsnprintf(line, sizeof line - 1, format, rest);
	va_end(rest);
	length = length > 398 ? 398 : length;
	line[length] = '\n';
	if (write(STDOUT_FILENO, line, length + 1) < 0)
		_exit(3);
	(*wrong)++;
}

static long now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000 + time.tv_nsec;
}

/* How long this thread has waited for a processor. */
static __thread int waits = -1;

static long waited(void)
{
	char text[80];
	if (waits == -1)
		waits = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	ssize_t length = pread(waits, text, sizeof text - 1, 0);
	if (length <= 0)
		return 0;
	text[length] = 0;
	long ran = 0, waited = 0;
	sscanf(text, "%ld %ld", &ran, &waited);
	return waited;
}

/* The segments that are there, and how many attaches they have: by the books, and in truth. What another thread was about to attach or detach
 * when a process was forked, the child may have and not count. */
#define IDS 1024
#define SLOTS 32768 /* an id's lower bits are its slot */
static struct {
	int id;
	int is_private; /* and not removed */
	pid_t creator;
	unsigned long nattch, truth, uncounted;
} known[IDS];
static int ids, listed;
/* What SHM_INFO said of them, and what they are together. */
static int told_ids;
static unsigned long told_pages, pages;

/* Asks for all of them. */
static void list_segments(void)
{
	struct shm_info info;
	struct shmid_ds ds;
	int highest = shmctl(0, SHM_INFO, (struct shmid_ds *)&info);
	ids = 0;
	pages = 0;
	for (int index = 0; index <= highest && ids < IDS; index++) {
		int id = shmctl(index, SHM_STAT, &ds);
		if (id == -1)
			continue;
		int is_private = ds.shm_perm.__key == IPC_PRIVATE && !(ds.shm_perm.mode & SHM_DEST);
		known[ids++] = (typeof(known[0])){id, is_private, ds.shm_cpid, ds.shm_nattch, 0, 0};
		pages += (ds.shm_segsz + PAGE - 1) / PAGE;
	}
	listed = ids;
	told_ids = info.used_ids;
	told_pages = info.shm_tot;
}

/* Of a process that was forked beside another thread, or not. */
static void count_maps(pid_t pid, int beside)
{
	char path[300], line[600];
	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	FILE *file = fopen(path, "r");
	size_t length = strlen(directory);
	while (file && fgets(line, sizeof line, file)) {
		char *name = strstr(line, directory);
		unsigned long start, end;
		int id, at = 0;
		if (!name || sscanf(line, "%lx-%lx", &start, &end) != 2 || sscanf(name + length, "/segment.%d", &id) != 1)
			continue;
		if (end - start == PAGE) /* a hidden mapping; no segment here is as small */
			continue;
		/* A file may have been another segment's of the same slot. */
		int mask = strstr(line, "(deleted)") ? -1 : SLOTS - 1;
		while (at < ids && (known[at].id & mask) != (id & mask))
			at++;
		if (at == IDS)
			continue;
		if (at == ids)
			known[ids++] = (typeof(known[0])){.id = id};
		known[at].truth++;
		known[at].uncounted += beside;
	}
	if (file)
		fclose(file);
}

static void compare_files(void)
{
	DIR *dir = opendir(directory);
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		int id, at = 0;
		if (sscanf(entry->d_name, "segment.%d", &id) != 1)
			continue;
		while (at < ids && known[at].id % SLOTS != id % SLOTS)
			at++;
		/* An empty one is kept for the next segment, or what the check finds. */
		struct stat about;
		if (at == ids && fstatat(dirfd(dir), entry->d_name, &about, 0) == 0 && about.st_blocks)
			complain("%s: a file of no segment", entry->d_name);
	}
	if (dir)
		closedir(dir);
}

static int is_wrong(int n)
{
	unsigned long least = known[n].truth - known[n].uncounted;
	return n < listed ? known[n].nattch < least || known[n].nattch > known[n].truth : least > 0;
}

/* After list_segments, and count_maps of all that live. */
__attribute__((unused)) static int differs(void)
{
	int wrong = told_ids != listed || told_pages != pages;
	for (int n = 0; n < ids; n++)
		wrong += is_wrong(n);
	return wrong;
}

/* Who holds it, as the books say. */
static void say_holders(int id)
{
	char number[16];
	snprintf(number, sizeof number, "%d", id);
	pid_t shower = vfork();
	if (shower == 0) {
		dup2(STDOUT_FILENO, STDERR_FILENO);
		execl(check[0], check[0], "show", "--namespace", directory, number, (char *)NULL);
		_exit(127);
	}
	if (shower != -1)
		waitpid(shower, NULL, 0);
}

static void compare(void)
{
	if (told_ids != listed || told_pages != pages)
		complain("SHM_INFO: %d ids, %lu pages, but %d and %lu are there", told_ids, told_pages, listed, pages);
	for (int n = 0; n < ids; n++)
		if (is_wrong(n) && n >= listed)
			complain("segment %d: %lu attaches, but it is not there", known[n].id, known[n].truth);
		else if (is_wrong(n)) {
			complain("segment %d: nattch %lu, but %lu attaches", known[n].id, known[n].nattch, known[n].truth);
			say_holders(known[n].id);
		}
	compare_files();
}

static void run_check(void)
{
	int how = -1;
	pid_t checker = vfork();
	if (checker == 0) {
		dup2(STDOUT_FILENO, STDERR_FILENO);
		execv(check[0], check);
		_exit(127);
	}
	if (checker == -1 || waitpid(checker, &how, 0) == -1 || how != 0)
		complain("the check fails: status %#x", how);
}

#endif

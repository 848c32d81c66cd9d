/* One call a command: an actor in tests with several processes.
 *
 *   get KEY SIZE FLAGS | at ID [FLAGS] | dt N | rm ID | set ID MODE | give ID UID MODE | stat ID | key PATH PROJ
 *   child COMMAND      the command in a forked child that then exits
 *   hold, release      fork a child that only waits; kill it
 *   exec               this program anew, same environment      ungated    the same without the preload
 *   counters 0|1, denial, pid, uid N
 * The answer is one line: a number, an errno's name, or what was asked for. */
#include "trace.h"
#include <dlfcn.h>

static void *attached[1024];
static int attaches;
static pid_t held;

static void answer(long result)
{
	if (result == -1)
		printf("%s\n", errname(errno));
	else
		printf("%ld\n", result);
	fflush(stdout);
}

static long attach(int shmid, int flags)
{
	void *at = shmat(shmid, NULL, flags);
	if (at == FAILED)
		return -1;
	attached[attaches] = at;
	return attaches++;
}

static void counters(int scope)
{
	uint64_t c[5] = {0};
	int (*ask)(int, void *);
	*(void **)&ask = dlsym(RTLD_DEFAULT, "shmgate_counters");
	if (!ask)
		puts("no shmgate_counters");
	else if (ask(scope, c) == -1)
		puts(errname(errno));
	else
		printf("calls %lu denials %lu bytes %lu segments %lu attaches %lu\n", c[0], c[1], c[2], c[3], c[4]);
}

static void denial(void)
{
	char text[1024] = "";
	size_t (*ask)(char *, size_t);
	*(void **)&ask = dlsym(RTLD_DEFAULT, "shmgate_last_denial");
	if (!ask)
		puts("no shmgate_last_denial");
	else {
		size_t length = ask(text, sizeof text);
		puts(length == strlen(text) ? text : "the length is not the text's");
	}
}

static void again(char *self, int gated)
{
	if (!gated)
		unsetenv("LD_PRELOAD");
	execl("/proc/self/exe", self, "again", (char *)NULL);
	answer(-1);
}

static long change(int shmid, uid_t uid, unsigned mode)
{
	struct shmid_ds ds = {0};
	ds.shm_perm.uid = uid;
	ds.shm_perm.gid = getegid();
	ds.shm_perm.mode = mode;
	return shmctl(shmid, IPC_SET, &ds);
}

/* A child that only waits; it is there, through all that a fork does, when this returns. */
static pid_t hold(void)
{
	char byte;
	int ends[2];
	if (pipe(ends) == -1)
		return -1;
	held = fork();
	if (held == 0) {
		if (write(ends[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	ssize_t there = read(ends[0], &byte, 1);
	close(ends[0]);
	close(ends[1]);
	return there == 1 ? held : -1;
}

static void obey(char *line, char *self)
{
	char verb[16] = "", path[512] = "";
	long a = 0, b = 0, c = 0;
	struct shmid_ds ds;
	sscanf(line, "%15s %li %li %li", verb, &a, &b, &c);
	if (!strcmp(verb, "get"))
		answer(shmget((key_t)a, (size_t)b, (int)c));
	else if (!strcmp(verb, "at"))
		answer(attach((int)a, (int)b));
	else if (!strcmp(verb, "dt"))
		answer(shmdt(attached[a]));
	else if (!strcmp(verb, "rm"))
		answer(shmctl((int)a, IPC_RMID, NULL));
	else if (!strcmp(verb, "set"))
		answer(change((int)a, geteuid(), (unsigned)b));
	else if (!strcmp(verb, "give"))
		answer(change((int)a, (uid_t)b, (unsigned)c));
	else if (!strcmp(verb, "stat")) {
		if (shmctl((int)a, IPC_STAT, &ds) == -1)
			answer(-1);
		else
			printf("nattch %lu mode %#o\n", (unsigned long)ds.shm_nattch, ds.shm_perm.mode);
	} else if (!strcmp(verb, "key")) {
		sscanf(line, "%*s %511s %li", path, &a);
		answer(ftok(path, (int)a));
	} else if (!strcmp(verb, "child")) {
		pid_t pid = fork();
		if (pid == 0) {
			obey(line + 6, self);
			fflush(stdout);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	} else if (!strcmp(verb, "hold")) {
		answer(hold());
	} else if (!strcmp(verb, "release")) {
		kill(held, SIGKILL);
		answer(waitpid(held, NULL, 0) == held ? 0 : -1);
	} else if (!strcmp(verb, "exec") || !strcmp(verb, "ungated"))
		again(self, !strcmp(verb, "exec"));
	else if (!strcmp(verb, "counters"))
		counters((int)a);
	else if (!strcmp(verb, "denial"))
		denial();
	else if (!strcmp(verb, "pid"))
		answer(getpid());
	else if (!strcmp(verb, "uid"))
		answer(setresuid((uid_t)-1, (uid_t)a, (uid_t)-1));
	else
		puts("no such command");
}

/* Byte by byte, not by stdio: what one image has read ahead would be lost to the next. */
static int command(char *line, size_t size)
{
	size_t length = 0;
	while (length + 1 < size && read(0, line + length, 1) == 1)
		if (line[length++] == '\n') {
			line[length - 1] = 0;
			return 1;
		}
	return 0;
}

int main(int argc, char **argv)
{
	char line[1024];
	if (argc > 1)
		puts("here again");
	while (command(line, sizeof line))
		obey(line, argv[0]);
	return 0;
}

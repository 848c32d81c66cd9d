/* errno where no call of ours returns: at the start, in a forked child, in what else is hooked, in the C API. */
#include "trace.h"
#include <dlfcn.h>

static int opened_early = UNTOUCHED;

static void before_constructors(void)
{
	errno = UNTOUCHED;
	if (!dlopen(NULL, RTLD_NOW))
		abort();
	opened_early = errno;
}
__attribute__((section(".preinit_array"), used)) static void (*const preinit)(void) = before_constructors;

static int bad;

#define KEEP(call)                                                                                                     \
	do {                                                                                                           \
		errno = UNTOUCHED;                                                                                     \
		(void)(call);                                                                                          \
		if (errno != UNTOUCHED)                                                                                \
			bad++, printf("%s: %d\n", #call, errno);                                                       \
	} while (0)

static void c_api(void)
{
	uint64_t counters[5];
	char text[100];
	const char *(*version)(void), *(*backend)(void);
	int (*count)(int, void *), (*log)(const char *);
	size_t (*denial)(char *, size_t);
	*(void **)&version = dlsym(RTLD_DEFAULT, "shmgate_version");
	*(void **)&backend = dlsym(RTLD_DEFAULT, "shmgate_backend");
	*(void **)&count = dlsym(RTLD_DEFAULT, "shmgate_counters");
	*(void **)&denial = dlsym(RTLD_DEFAULT, "shmgate_last_denial");
	*(void **)&log = dlsym(RTLD_DEFAULT, "shmgate_log");
	if (!version)
		return; /* native */
	KEEP(version());
	KEEP(backend());
	KEEP(count(0, counters));
	KEEP(denial(text, sizeof text));
	KEEP(log("off"));
}

int main(void)
{
	printf("at the start: %d\n", errno);
	printf("dlopen before all constructors: %s\n", errname(opened_early));
	int shmid = private_segment(PAGE, 0600), how;
	void *at = TP(shmat(shmid, NULL, 0));
	errno = UNTOUCHED;
	pid_t pid = fork();
	if (pid == 0)
		_exit(errno != UNTOUCHED);
	KEEP(pid);
	waitpid(pid, &how, 0);
	printf("in the child: %s\n", how ? "changed" : "untouched");
	KEEP(seteuid(geteuid()));
	KEEP(setuid(geteuid()));
	KEEP(setreuid((uid_t)-1, geteuid()));
	KEEP(setresuid((uid_t)-1, geteuid(), (uid_t)-1));
	KEEP(dlopen(NULL, RTLD_NOW));
	T(shmdt(at));
	T(shmctl(shmid, IPC_STAT, &(struct shmid_ds){0}));
	T(shmctl(shmid, IPC_RMID, NULL));
	c_api();
	printf("bad: %d\n", bad);
	return 0;
}

/* Runs a program for which the kernel has no System V shared memory: the four calls fail with ENOSYS, also behind libc.
 * What is to be in its environment alone comes before it, so that a preload meets the filter from its first call on.
 * Usage: without_shm [NAME=VALUE...] -- PROGRAM [ARGUMENT...] */
#include "trace.h"
#include <dlfcn.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined __x86_64__
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif
#define OTHER_NUMBERS 0x40000000 /* x32: the same calls, with this bit */

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define REFUSE BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS)
#define REFUSE_IF(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), REFUSE

static int filter(void)
{
	struct sock_filter code[] = {
		LOAD(arch),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
		REFUSE, /* a 32-bit program has these calls under other numbers, and there is none here */
		LOAD(nr),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~(unsigned)OTHER_NUMBERS),
		REFUSE_IF(SYS_shmget),
		REFUSE_IF(SYS_shmat),
		REFUSE_IF(SYS_shmdt),
		REFUSE_IF(SYS_shmctl),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

/* A filter that lets a call through would make every test here worthless. */
static int refused(long result)
{
	return result == -1 && errno == ENOSYS;
}

int main(int argc, char **argv)
{
	if (filter() == -1) {
		fprintf(stderr, "without_shm: no filter: %s\n", strerror(errno));
		return 120;
	}
	/* libc's own: a gated program's syscall may be served in user space. */
	void *libc = dlopen("libc.so.6", RTLD_NOW);
	long (*call)(long, ...) = libc ? (long (*)(long, ...))dlsym(libc, "syscall") : NULL;
	if (!call || !refused(call(SYS_shmget, IPC_PRIVATE, 1, 0600)) || !refused(call(SYS_shmat, 0, NULL, 0)) ||
	    !refused(call(SYS_shmdt, NULL)) || !refused(call(SYS_shmctl, 0, IPC_STAT, NULL))) {
		fputs("without_shm: the filter lets calls through\n", stderr);
		return 121;
	}
	int at = 1;
	for (; at < argc && strcmp(argv[at], "--"); at++)
		putenv(argv[at]);
	if (at + 1 >= argc)
		return 122;
	execvp(argv[at + 1], argv + at + 1);
	fprintf(stderr, "without_shm: %s: %s\n", argv[at + 1], strerror(errno));
	return 123;
}

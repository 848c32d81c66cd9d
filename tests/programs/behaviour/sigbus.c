/* SIGBUS stays the host's: what it sets for it, what it is told, and how it ends by it. */
#include "trace.h"
#include <poll.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <ucontext.h>

static sigjmp_buf back;
static volatile sig_atomic_t seen, blocked, code, on_own_stack, has_address;
static char *file_page;
static char stack[1 << 16];

/* A page of a file that ends before it. */
static char *beyond_the_end(void)
{
	char path[] = "/tmp/sigbus.XXXXXX";
	int fd = mkstemp(path);
	unlink(path);
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return page;
}

static void plain(int number)
{
	sigset_t now;
	sigprocmask(SIG_SETMASK, NULL, &now);
	blocked = sigismember(&now, SIGBUS) * 10 + sigismember(&now, SIGUSR2);
	seen = number;
}

static void full(int number, siginfo_t *info, void *context)
{
	char here;
	plain(number);
	code = info->si_code;
	has_address = info->si_addr == (void *)file_page;
	on_own_stack = &here >= stack && &here < stack + sizeof stack && ((ucontext_t *)context)->uc_link == NULL;
	errno = EDOM;
	if (info->si_code > 0)
		siglongjmp(back, 1);
}

static void tell(const char *text)
{
	struct sigaction now;
	memset(&now, 0, sizeof now);
	T(sigaction(SIGBUS, NULL, &now));
	const char *handler = now.sa_handler == SIG_DFL	 ? "default"
			      : now.sa_handler == SIG_IGN ? "ignored"
			      : now.sa_handler == plain	  ? "plain"
			      : now.sa_sigaction == full  ? "full"
							  : "another";
	printf("%s: %s, flags %#x, mask %d %d\n", text, handler, now.sa_flags, sigismember(&now.sa_mask, SIGBUS),
	       sigismember(&now.sa_mask, SIGUSR2));
}

static void touched(const char *text)
{
	seen = blocked = code = on_own_stack = has_address = 0;
	if (sigsetjmp(back, 1) == 0)
		*(volatile char *)file_page = 1;
	printf("%s: signal %d, blocked %d, code %d, its address %d, its stack %d\n", text, seen, blocked, code, has_address, on_own_stack);
}

static void sent(const char *text)
{
	seen = blocked = 0;
	T(raise(SIGBUS));
	printf("%s: signal %d, blocked %d\n", text, seen, blocked);
}

/* How a child ends that does this. */
#define CHILD(text, does)           \
	do {                        \
		pid_t pid = fork(); \
		if (pid == 0) {     \
			does;       \
			_exit(0);   \
		}                   \
		ended(text, pid);   \
	} while (0)

int main(void)
{
	const struct rlimit no_core = {0, 0};
	setrlimit(RLIMIT_CORE, &no_core);
	struct sigaction action, before;
	stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
	file_page = beyond_the_end();
	int shmid = private_segment(PAGE, 0600);
	T(sigaltstack(&own, NULL));
	tell("at first");
	CHILD("touches", *(volatile char *)file_page = 1);
	CHILD("raises", raise(SIGBUS));
	CHILD("sends", kill(getpid(), SIGBUS));
	CHILD("aborts", abort());

	T(signal(SIGBUS, plain) == SIG_DFL);
	tell("signal");
	sent("signal");
	sent("signal again");
	T(signal(SIGBUS, SIG_IGN) == (void *)plain);
	tell("ignored");
	sent("ignored");
	CHILD("touches, ignoring", *(volatile char *)file_page = 1);
	CHILD("ignored by what is executed too", execl("/bin/sh", "sh", "-c", "kill -BUS $$; exit 7", (char *)NULL));
	pid_t sender = fork();
	if (sender == 0)
		_exit(kill(getppid(), SIGBUS));
	T(poll(NULL, 0, 100)); /* which a handler would interrupt, whatever its flags */
	ended("who sends what is ignored", sender);

	memset(&action, 0, sizeof action);
	action.sa_sigaction = full;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	sigaddset(&action.sa_mask, SIGUSR2);
	T(sigaction(SIGBUS, &action, NULL));
	tell("full");
	touched("full");
	touched("full again");
	sent("full");
	CHILD("in a child", touched("there"));
	pid_t pid = vfork();
	if (pid == 0) {
		signal(SIGBUS, SIG_DFL); /* as daemons do before exec, to all signals */
		*(volatile char *)file_page = 1;
		_exit(0);
	}
	ended("a vfork child", pid);
	touched("full, after vfork");

	action.sa_flags = SA_SIGINFO | (int)SA_RESETHAND;
	T(sigaction(SIGBUS, &action, &before));
	printf("before: full %d, flags %#x\n", before.sa_sigaction == full, before.sa_flags);
	touched("once");
	tell("once");
	CHILD("touches again", *(volatile char *)file_page = 1);

	action.sa_flags = 0;
	action.sa_handler = plain;
	T(sigaction(SIGBUS, &action, NULL));
	sent("plain");
	T(sigaction(SIGBUS, (memset(&action, 0, sizeof action), &action), NULL));
	tell("default");
	CHILD("touches at last", *(volatile char *)file_page = 1);
	T(__sysv_signal(SIGBUS, plain) == SIG_DFL);
	tell("System V");
	sent("System V");
	tell("System V, once");
	T(signal(SIGBUS, SIG_ERR) == SIG_ERR);
	T(sigaction(SIGBUS, NULL, NULL));
	T(shmdt(TP(shmat(shmid, NULL, 0))));
	show("at the end", shmid);
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}

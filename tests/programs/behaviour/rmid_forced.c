/* kernel.shm_rmid_forced, where we may set it: with 1 the last detach destroys, and the creator's end what nobody has attached. */
#include "trace.h"

#define FORCED "/proc/sys/kernel/shm_rmid_forced"
#define KEY(n) (0x5e000021 + (n))

static void show_setting(void)
{
	char text[16] = "";
	int fd = open(FORCED, O_RDONLY);
	printf("reads as %.*s", (int)read(fd, text, sizeof text - 1), text);
	close(fd);
}

static void set(const char *value)
{
	int fd = open(FORCED, O_WRONLY | O_TRUNC);
	if (fd != -1 && write(fd, value, strlen(value)) != (ssize_t)strlen(value))
		errno = 0; /* refused, or its beginning was enough */
	close(fd);
	printf("[%s] ", value);
	show_setting();
}

/* Whether the segment is there: by its id, and by its key, which is looked up first or last. */
static void there(const char *text, int shmid, key_t key)
{
	struct shmid_ds ds;
	int first = shmget(key, 0, 0);
	int status = shmctl(shmid, IPC_STAT, &ds);
	int last = shmget(key, 0, 0);
	printf("%s: %s %s %s", text, first == shmid ? "found" : errname(errno), status ? "gone" : "there", last == shmid ? "found\n" : "\n");
	if (!status)
		printf("\tmode %o nattch %d\n", ds.shm_perm.mode, (int)ds.shm_nattch);
}

/* A child that does what it is told to, step by step: a letter each, answered by a line. */
struct child {
	pid_t pid;
	int orders, answers;
	long answer;
};

static long obey(int order, key_t key)
{
	static void *at;
	switch (order) {
	case 'c':
		return shmget(key, PAGE, IPC_CREAT | 0600);
	case 'a':
		return (at = shmat(shmget(key, 0, 0), NULL, 0)) == FAILED ? -1 : 0;
	case 'd':
		return shmdt(at);
	case 'u':
		return munmap(at, PAGE);
	default:
		return -1;
	}
}

static void *run_another(void *creates)
{
	if (creates)
		obey('c', *(key_t *)creates);
	execl("/proc/self/exe", "rmid_forced", "serve", (char *)NULL);
	_exit(1);
}

static void serve(key_t key)
{
	char order;
	pthread_t thread;
	while (read(0, &order, 1) == 1 && order != 'q') {
		if (order == 'x')
			run_another(NULL);
		if (order == 't') {
			pthread_create(&thread, NULL, run_another, &key);
			pause();
		}
		long answer = obey(order, key);
		if (write(1, &answer, sizeof answer) != sizeof answer)
			_exit(1);
	}
	_exit(0);
}

static long tell(struct child *child, char order)
{
	child->answer = -1;
	if (write(child->orders, &order, 1) != 1 || read(child->answers, &child->answer, sizeof child->answer) != sizeof child->answer)
		puts("no answer");
	return child->answer;
}

static struct child begin(key_t key)
{
	int orders[2], answers[2];
	if (pipe2(orders, O_CLOEXEC) || pipe2(answers, O_CLOEXEC))
		exit(1);
	struct child child = {.pid = fork(), .orders = orders[1], .answers = answers[0]};
	if (child.pid == 0) {
		dup2(orders[0], 0);
		dup2(answers[1], 1);
		close(orders[1]);
		close(answers[0]);
		serve(key);
	}
	close(orders[0]);
	close(answers[1]);
	return child;
}

static void end(struct child *child, int signal)
{
	if (signal)
		kill(child->pid, signal);
	else if (write(child->orders, "q", 1) != 1)
		puts("gone already");
	ended("child", child->pid);
	close(child->orders);
	close(child->answers);
}

static void detaches(void)
{
	int shmid = (int)T(shmget(KEY(0), PAGE, IPC_CREAT | 0600));
	there("not attached yet", shmid, KEY(0));
	void *at = TP(shmat(shmid, NULL, 0)), *second = TP(shmat(shmid, NULL, 0));
	T(shmdt(at));
	there("one is left", shmid, KEY(0));
	T(shmdt(second));
	T(shmget(KEY(0), 0, 0));
	there("detached", shmid, KEY(0));
	T(shmctl(shmid, IPC_RMID, NULL));

	shmid = (int)T(shmget(IPC_PRIVATE, PAGE, 0600));
	at = TP(shmat(shmid, NULL, 0));
	T(munmap(at, PAGE));
	T(shmat(shmid, NULL, 0));

	/* an attach that finds no place counted all the same */
	shmid = (int)T(shmget(KEY(0), PAGE, IPC_CREAT | 0600));
	T(shmat(shmid, (void *)1, 0));
	there("a bad address", shmid, KEY(0));
	T(shmat(shmid, (void *)((uintptr_t)&at & ~(PAGE - 1)), 0));
	there("the stack's address", shmid, KEY(0));

	shmid = (int)T(shmget(KEY(0), PAGE, IPC_CREAT | 0600));
	at = TP(shmat(shmid, NULL, 0));
	T(shmctl(shmid, IPC_RMID, NULL));
	there("removed", shmid, KEY(0));
	T(shmdt(at));
	there("and detached", shmid, KEY(0));
}

static void holders(void)
{
	/* the creator lives, and the last holder is killed, ends, runs another program */
	static const int signals[] = {SIGKILL, 0};
	for (int i = 0; i < 2; i++) {
		int shmid = (int)T(shmget(KEY(1), PAGE, IPC_CREAT | 0600));
		struct child child = begin(KEY(1));
		printf("attached: %ld\n", tell(&child, 'a'));
		there("by a child", shmid, KEY(1));
		end(&child, signals[i]);
		there("it has ended", shmid, KEY(1));
	}
	int shmid = (int)T(shmget(KEY(1), PAGE, IPC_CREAT | 0600));
	void *at = TP(shmat(shmid, NULL, 0));
	struct child child = begin(KEY(1));
	T(shmdt(at));
	there("inherited by a child", shmid, KEY(1));
	tell(&child, 'x');
	there("which runs another program", shmid, KEY(1));
	end(&child, 0);
}

static void creators(void)
{
	static const int signals[] = {0, SIGKILL};
	for (int i = 0; i < 2; i++) {
		struct child child = begin(KEY(2));
		int shmid = (int)tell(&child, 'c');
		there("a child's", shmid, KEY(2));
		end(&child, signals[i]);
		there("it has ended", shmid, KEY(2));
	}
	/* attached by others at its end: goes with them */
	struct child child = begin(KEY(2));
	int shmid = (int)tell(&child, 'c');
	void *at = TP(shmat(shmid, NULL, 0));
	end(&child, 0);
	there("the creator has ended", shmid, KEY(2));
	T(shmdt(at));
	there("detached", shmid, KEY(2));

	/* exec is no end */
	child = begin(KEY(2));
	shmid = (int)tell(&child, 'c');
	tell(&child, 'x');
	there("the creator runs another program", shmid, KEY(2));
	end(&child, 0);
	there("it has ended", shmid, KEY(2));

	/* nor is it by a thread, which has another number then */
	child = begin(KEY(2));
	tell(&child, 't');
	shmid = (int)T(shmget(KEY(2), 0, 0));
	there("a thread of the creator's runs another program", shmid, KEY(2));
	end(&child, 0);
	there("it has ended", shmid, KEY(2));

	/* attached when the creator runs another program: that is a detach */
	child = begin(KEY(2));
	shmid = (int)tell(&child, 'c');
	tell(&child, 'a');
	there("the creator has it", shmid, KEY(2));
	tell(&child, 'x');
	there("the creator runs another program", shmid, KEY(2));
	end(&child, 0);
}

static void settings(void)
{
	/* made while it is 0 */
	struct child gone = begin(KEY(3)), here = begin(KEY(4)), attached = begin(KEY(5));
	int orphan = (int)tell(&gone, 'c'), young = (int)tell(&here, 'c'), held = (int)tell(&attached, 'c');
	int own = (int)T(shmget(KEY(6), PAGE, IPC_CREAT | 0600));
	void *at = TP(shmat(held, NULL, 0)), *own_at = TP(shmat(own, NULL, 0));
	T(shmdt(own_at));
	end(&gone, 0);
	end(&attached, 0);
	there("an orphan", orphan, KEY(3));
	set("1");
	there("an orphan", orphan, KEY(3));
	there("of one that lives", young, KEY(4));
	there("held by us", held, KEY(5));
	there("detached before", own, KEY(6));
	set("0");
	T(shmdt(at));
	there("detached under 0", held, KEY(5));
	end(&here, 0);
	there("its creator ended under 0", young, KEY(4));
	at = TP(shmat(own, NULL, 0));
	set("1");
	there("orphans go", held, KEY(5));
	there("orphans go", young, KEY(4));
	set("0");
	T(shmdt(at));
	there("ours, detached under 0", own, KEY(6));
	/* attached and detached under an earlier 1 means nothing */
	set("1");
	there("ours", own, KEY(6));
	set("0");
	/* a holder dies under 0, and the setting comes later */
	here = begin(KEY(6));
	tell(&here, 'a');
	end(&here, SIGKILL);
	set("1");
	there("its holder was killed before", own, KEY(6));
	here = begin(KEY(6));
	tell(&here, 'a');
	set("0");
	set("1");
	tell(&here, 'u');
	there("unmapped", own, KEY(6));
	end(&here, 0);
}

static int by_thread;

static void *create(void *unused)
{
	by_thread = (int)T(shmget(KEY(7), PAGE, IPC_CREAT | 0600));
	there("a thread's", by_thread, KEY(7));
	return unused;
}

static void threads(void)
{
	struct shmid_ds ds;
	pthread_t thread;
	pthread_create(&thread, NULL, create, NULL);
	pthread_join(thread, NULL);
	/* join does not wait for the thread's last steps */
	for (int tries = 0; tries < 10000 && shmctl(by_thread, IPC_STAT, &ds) == 0; tries++)
		usleep(1000);
	there("the thread has ended", by_thread, KEY(7));
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		long ready = 0;
		if (write(1, &ready, sizeof ready) == sizeof ready)
			serve(KEY(1));
		return argv[1][0];
	}
	if (geteuid() != 0 || access(FORCED, W_OK) != 0) {
		puts("not ours to change");
		return 0;
	}
	struct shm_info info;
	show_setting();
	set("1");
	detaches();
	holders();
	creators();
	threads();
	set("0");
	settings();
	static const char *const texts[] = {"0", "1", " 0\n", "0x1", "2", "00", "-1", "abc", "01", "", "\n", "0 1", "+1", "1 0"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		set(texts[i]);
	/* nothing is left, whoever counts */
	T(shmctl(0, SHM_INFO, (struct shmid_ds *)&info) == -1 ? -1 : 0);
	printf("%d segments of %lu pages\n", info.used_ids, info.shm_tot);
	set("0");
	T(setresuid(65534, 65534, 65534));
	T(open(FORCED, O_WRONLY));
	T(open(FORCED, O_RDWR));
	show_setting();
	return 0;
}

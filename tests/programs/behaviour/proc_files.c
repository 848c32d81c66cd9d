/* The files of /proc that tell of shared memory, by every function that opens files: in small pieces, from the start again, and with
 * all that open itself is answerable for. */
#include "trace.h"

#define SHM "/proc/sysvipc/shm"
#define MAX "/proc/sys/kernel/shmmax"

int __open_2(const char *, int);
int __open64_2(const char *, int);
int __openat_2(int, const char *, int);
int __openat64_2(int, const char *, int);

/* Our own rows, without ids and clocks. */
static void rows(const char *text)
{
	for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
		int key, shmid, taken = 0;
		unsigned mode, cpid, lpid, uid, gid, cuid, cgid;
		unsigned long size, nattch, atime, dtime, ctime, rss, swap;
		if (line == text) {
			printf("%.*s\n", (int)(strchr(line, '\n') - line), line);
			continue;
		}
		int fields = sscanf(line, "%d %d %o %lu %u %u %lu %u %u %u %u %lu %lu %lu %lu %lu%n", &key, &shmid, &mode, &size, &cpid,
				    &lpid, &nattch, &uid, &gid, &cuid, &cgid, &atime, &dtime, &ctime, &rss, &swap, &taken);
		if (fields == 16 && (pid_t)cpid != getpid())
			continue;
		printf("%d fields%s: key %#x mode %o size %lu lpid %s nattch %lu ids %s atime %s dtime %s ctime %s rss %lu swap %lu\n",
		       fields, line[taken] == '\n' ? "" : " and more", (unsigned)key, mode, size,
		       (pid_t)lpid == getpid() ? "self" : lpid ? "other" : "0", nattch,
		       uid == geteuid() && gid == getegid() && cuid == uid && cgid == gid ? "ours" : "other", atime ? "set" : "0",
		       dtime ? "set" : "0", ctime ? "set" : "0", rss, swap);
		/* the widths: of all columns but the ids' and the pids' */
		char same[512];
		snprintf(same, sizeof same, "%10d %10d  %4o %21lu %5u %5u  %5lu %5u %5u %5u %5u %10lu %10lu %10lu %21lu %21lu", key, shmid, mode,
			 size, cpid, lpid, nattch, uid, gid, cuid, cgid, atime, dtime, ctime, rss, swap);
		printf("as wide as the kernel's: %s\n", strncmp(line, same, strlen(same)) ? "no" : "yes");
	}
}

static void pieces(const char *name, int fd, size_t piece)
{
	static char text[1 << 20];
	size_t len = 0;
	ssize_t got;
	while ((got = read(fd, text + len, piece)) > 0)
		len += (size_t)got;
	text[len] = 0;
	printf("%s: %s\n", name, got ? errname(errno) : "read to its end");
	rows(text);
}

static void one(const char *name, int fd)
{
	char text[64] = "";
	int number = errno;
	if (fd == -1) {
		printf("%s: %s\n", name, errname(number));
		return;
	}
	ssize_t got = read(fd, text, sizeof text - 1);
	printf("%s: %s%s", name, number == UNTOUCHED ? "" : "errno was changed: ", got > 0 ? text : errname(errno));
	close(fd);
}

static void stream(const char *name, FILE *file)
{
	char text[256] = "";
	int number = errno;
	if (!file) {
		printf("%s: %s\n", name, errname(number));
		return;
	}
	printf("%s: %s%s", name, number == UNTOUCHED ? "" : "errno was changed: ", fgets(text, sizeof text, file) ? text : "nothing\n");
	rewind(file);
	printf("again: %s", fgets(text, sizeof text, file) ? text : "nothing\n");
	printf("close-on-exec: %d\n", fcntl(fileno(file), F_GETFD));
	fclose(file);
}

#define ONE(call) one(#call, (errno = UNTOUCHED, (call)))
#define STREAM(call) stream(#call, (errno = UNTOUCHED, (call)))

static void *cancelled(void *unused)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	int fd = open(SHM, O_RDONLY);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	close(fd);
	return unused;
}

static volatile int in_handler;

static void handler(int signal)
{
	char byte;
	int fd = open(SHM, O_RDONLY);
	in_handler = signal && read(fd, &byte, 1) == 1 && byte == ' ';
	close(fd);
}

int main(void)
{
	void *result;
	pthread_t thread;
	struct stat about;
	int first = shmget(0x5e000041, 10000, IPC_CREAT | 0640);
	int second = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	char *at = shmat(first, NULL, 0);
	at[0] = at[8192] = 1;

	errno = UNTOUCHED;
	int fd = open(SHM, O_RDONLY | O_CLOEXEC);
	printf("%s; close-on-exec: %d; access: %d\n", errname(errno), fcntl(fd, F_GETFD), fcntl(fd, F_GETFL) & O_ACCMODE);
	T(fstat(fd, &about));
	printf("%s, mode %o, links %d\n", S_ISREG(about.st_mode) ? "a file" : "no file", about.st_mode & 0777, about.st_nlink > 1);
	pieces("in sevens", fd, 7);
	shmctl(second, IPC_RMID, NULL);
	shmctl(first, IPC_RMID, NULL);
	T(lseek(fd, 0, SEEK_SET));
	pieces("as long as the pages of memory are", open(SHM, O_RDONLY), 4096);
	T(write(fd, "", 1));
	T(close(fd));
	shmdt(at);
	pieces("with none of ours", open(SHM, O_RDONLY), 100000);

	ONE(open(MAX, O_RDONLY));
	ONE(open64(MAX, O_RDONLY));
	ONE(__open_2(MAX, O_RDONLY));
	ONE(__open64_2(MAX, O_RDONLY));
	ONE(openat(AT_FDCWD, MAX, O_RDONLY));
	ONE(openat64(AT_FDCWD, MAX, O_RDONLY));
	ONE(__openat_2(AT_FDCWD, MAX, O_RDONLY));
	ONE(__openat64_2(AT_FDCWD, MAX, O_RDONLY));
	ONE(open("/proc/sys/kernel/shmall", O_RDONLY));
	ONE(open("/proc/sys/kernel/shmmni", O_RDONLY));
	ONE(open("/proc/sys/kernel/shm_rmid_forced", O_RDONLY));
	int dir = open("/proc/sys/kernel", O_RDONLY | O_DIRECTORY);
	ONE(openat(dir, "shmmni", O_RDONLY));
	ONE(openat(dir, "nothing", O_RDONLY));
	close(dir);
	ONE(openat(dir, "shmmni", O_RDONLY));
	T(chdir("/proc/sys"));
	ONE(open("kernel/shmmni", O_RDONLY));
	T(chdir("/"));
	ONE(open("kernel/shmmni", O_RDONLY));
	STREAM(fopen(SHM, "r"));
	STREAM(fopen64(SHM, "re"));
	STREAM(fopen(MAX, "r"));
	STREAM(fopen("/proc/sys/kernel/shmmaxx", "r"));

	T(open((char *)1, O_RDONLY));
	T(open(MAX, O_RDONLY | O_DIRECTORY));
	T(open(MAX, O_CREAT | O_EXCL | O_RDONLY, 0600));
	T(open(MAX "/", O_RDONLY));
	/* the lowest number, as everybody's */
	close(0);
	printf("lowest: %d\n", open(SHM, O_RDONLY));
	printf("and then: %d\n", open("/dev/null", O_RDONLY) > 2);

	pthread_create(&thread, NULL, cancelled, NULL);
	pthread_join(thread, &result);
	puts(result == PTHREAD_CANCELED ? "a pending cancellation acts" : "not cancelled");
	signal(SIGUSR1, handler);
	raise(SIGUSR1);
	printf("in a handler: %d\n", in_handler);
	pid_t pid = vfork();
	if (pid == 0)
		_exit(open(SHM, O_RDONLY) == -1);
	ended("in a vfork child", pid);
	return 0;
}

/* The limits, written where we may: what is taken, what is not, and who may not. That a number was refused is not shown: only write says so. */
#include "trace.h"

#define SYS "/proc/sys/kernel/"

static void show_limit(const char *path)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY);
	if (read(fd, text, sizeof text - 1) <= 0)
		puts("nothing to read");
	close(fd);
	struct shminfo info = {0};
	shmctl(0, IPC_INFO, (struct shmid_ds *)&info);
	printf("%s = %.*s; shmctl: max %lu all %lu mni %lu seg %lu\n", strrchr(path, '/') + 1, (int)strcspn(text, "\n"), text, info.shmmax,
	       info.shmall, info.shmmni, info.shmseg);
}

static void set(const char *path, const char *value, size_t len)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	if (fd != -1 && write(fd, value, len) != (ssize_t)len)
		errno = 0; /* refused, or its beginning was enough */
	close(fd);
	printf("%s: ", value);
	show_limit(path);
}

int main(void)
{
	static const char *const texts[] = {"65536", " 8192\n", "0x30000", "0777", "-5", "abc", "12abc", "", "\n", "18446744073709551615",
					    "18446744073709551616", "5000 6", "000000000000000000005", "+5", "0", "08", "70000\t", "1\r\n"};
	if (geteuid() != 0) {
		puts("not ours to change");
		return 0;
	}
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		set(SYS "shmmax", texts[i], strlen(texts[i]));
		set(SYS "shmall", texts[i], strlen(texts[i]));
	}
	static const char *const counts[] = {"7", "32768", "32769", "-1", "0x20", "4294967297", "0", "9"};
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
		set(SYS "shmmni", counts[i], strlen(counts[i]));

	FILE *file = fopen(SYS "shmall", "w");
	fprintf(file, "%d\n", 30);
	T(fclose(file));
	show_limit(SYS "shmall");
	/* open for long: what is written counts at once, and what a child writes to it too */
	int fd = open(SYS "shmmax", O_WRONLY | O_CLOEXEC);
	T(write(fd, "12288", 5));
	T(shmget(IPC_PRIVATE, 12289, 0600));
	T(pwrite(fd, "16384", 5, 0));
	T(shmget(IPC_PRIVATE, 12289, 0600));
	pid_t pid = fork();
	if (pid == 0)
		_exit(pwrite(fd, "20480", 5, 0) != 5);
	ended("child", pid);
	show_limit(SYS "shmmax");
	T(close(fd));
	show_limit(SYS "shmmax");
	T(open("/proc/sysvipc/shm", O_RDONLY));

	T(setresgid(65534, 65534, 65534));
	T(setresuid(65534, 65534, 65534));
	T(open(SYS "shmmax", O_WRONLY));
	T(open(SYS "shmmax", O_RDWR));
	T(open("/proc/sysvipc/shm", O_WRONLY));
	errno = UNTOUCHED;
	printf("%s\n", fopen(SYS "shmmni", "w") ? "opened" : errname(errno));
	show_limit(SYS "shmmni");
	return 0;
}

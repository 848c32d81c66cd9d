# Perl's own shmget, shmread, shmwrite and shmctl, IPC::SysV's shmat and memread, IPC::SharedMem, and a forked child.
use strict;
use warnings;
use Cwd;
use IPC::SharedMem;
use IPC::SysV qw(ftok shmat shmdt memread memwrite IPC_CREAT IPC_EXCL IPC_PRIVATE IPC_RMID IPC_STAT SHM_RDONLY S_IRUSR S_IWUSR);

$| = 1;
my $key = ftok(getcwd(), 7) // die "ftok: $!";
my $id = shmget($key, 8192, IPC_CREAT | IPC_EXCL | 0600) // die "shmget: $!";
shmwrite($id, "from the parent", 0, 15) or die "shmwrite: $!";

my $child = fork() // die "fork: $!";
if ($child == 0) {
    my $mine = shmget($key, 0, 0) // die "shmget in the child: $!";
    shmread($mine, my $text, 0, 15) or die "shmread: $!";
    print "child reads: $text\n";
    my $address = shmat($mine, undef, 0) // die "shmat: $!";
    memwrite($address, "from the child!", 4096, 15) or die "memwrite: $!";
    shmdt($address) // die "shmdt: $!";
    exit 0;
}
waitpid($child, 0);
die "the child failed: $?" if $?;

my $address = shmat($id, undef, SHM_RDONLY) // die "shmat: $!";
memread($address, my $answer, 4096, 15) or die "memread: $!";
print "parent reads: $answer\n";
shmdt($address) // die "shmdt: $!";

print "exists: ", $!{EEXIST} ? 1 : 0, "\n" unless defined shmget($key, 8192, IPC_CREAT | IPC_EXCL | 0600);
print "the same: ", shmget($key, 4096, IPC_CREAT | 0600) == $id ? 1 : 0, "\n";
my $stat = '';
shmctl($id, IPC_STAT, $stat) or die "IPC_STAT: $!";
shmctl($id, IPC_RMID, 0) or die "IPC_RMID: $!";
print "gone: ", $!{EINVAL} ? 1 : 0, "\n" unless shmctl($id, IPC_RMID, 0);

my $shared = IPC::SharedMem->new(IPC_PRIVATE, 64, S_IRUSR | S_IWUSR) // die "IPC::SharedMem: $!";
$shared->write(pack('S', 4711), 2, 2);
print "IPC::SharedMem reads: ", unpack('S', $shared->read(2, 2)), " of ", $shared->stat->segsz, " bytes\n";
$shared->attach or die "attach: $!";
print "attached: ", $shared->stat->nattch, "\n";
$shared->detach or die "detach: $!";
$shared->remove or die "remove: $!";

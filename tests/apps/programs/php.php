<?php
// PHP's sysvshm and shmop: one process makes the segments, three at a time use them, the first removes them.
const WORKERS = 3;

function check(bool $fact, string $what): void
{
    if (!$fact) {
        fwrite(STDERR, "$what failed\n");
        exit(1);
    }
}

// A worker reads the variable that the owner stored, and signs its own line in the shmop segment.
function worker(int $number): void
{
    $variables = shm_attach(ftok(__FILE__, 'v'));
    $greeting = shm_get_var($variables, 1)['greeting'];
    check(shm_detach($variables), 'shm_detach');

    $lines = shmop_open(ftok(__FILE__, 'l'), 'a', 0, 0);
    check(shmop_read($lines, 0, 5) === 'lines', 'shmop_read');
    $lines = shmop_open(ftok(__FILE__, 'l'), 'w', 0, 0);
    $line = "$greeting from worker $number";
    check(shmop_write($lines, $line, 1024 * $number) === strlen($line), 'shmop_write');
}

function owner(): void
{
    $variables = shm_attach(ftok(__FILE__, 'v'), 65536, 0600);
    check(shm_put_var($variables, 1, ['greeting' => 'hello']), 'shm_put_var');
    $lines = shmop_open(ftok(__FILE__, 'l'), 'c', 0640, 8192);
    check(shmop_write($lines, 'lines', 0) === 5, 'shmop_write');

    $workers = [];
    for ($number = 1; $number <= WORKERS; $number++) {
        $workers[] = proc_open([PHP_BINARY, __FILE__, (string) $number], [], $pipes);
    }
    foreach ($workers as $worker) {
        check(proc_close($worker) === 0, 'a worker');
    }
    for ($number = 1; $number <= WORKERS; $number++) {
        echo rtrim(shmop_read($lines, 1024 * $number, 1024), "\0"), "\n";
    }
    check(@shmop_open(ftok(__FILE__, 'l'), 'n', 0640, 8192) === false, 'the second exclusive creation');
    echo 'size: ', shmop_size($lines), "\n";

    check(shm_has_var($variables, 1), 'shm_has_var');
    check(shm_remove_var($variables, 1), 'shm_remove_var');
    check(shm_remove($variables), 'shm_remove');
    check(shmop_delete($lines), 'shmop_delete');
    check(@shmop_open(ftok(__FILE__, 'l'), 'a', 0, 0) === false, 'finding nothing');
    echo "removed\n";
}

isset($argv[1]) ? worker((int) $argv[1]) : owner();

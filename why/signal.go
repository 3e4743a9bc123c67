package why

import "strconv"

// signals are the names of Linux' signals, which a machine of another kind numbers
// differently.
var signals = map[int]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
	9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
	24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}

// SignalName returns a signal's name, "signal N" for one that is seldom sent.
func SignalName(n int) string {
	if name := signals[n]; name != "" {
		return name
	}
	return "signal " + strconv.Itoa(n)
}

// statusOfSignal is what a shell and containerd add to a signal's number.
const statusOfSignal = 128

// statusKilled is the exit status that stands for SIGKILL.
const statusKilled = statusOfSignal + 9

// SignalOfStatus returns the name of the signal that an exit status stands for, "" if
// the status stands for none.
func SignalOfStatus(status int) string { return signals[status-statusOfSignal] }

package deliver

import (
	"github.com/go-logr/logr/funcr"
	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2"
)

// LogTo has client-go's own messages, such as those of a watch that is refused,
// come to a log: it would write to stderr in a form of its own. It is for the whole
// process.
func LogTo(log logrus.FieldLogger) {
	log = log.WithField("component", "client-go")
	klog.SetLogger(funcr.New(func(_, args string) { log.Warn(args) }, funcr.Options{}))
}

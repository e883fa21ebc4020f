package compose

import (
	"io"
	"os"
	"sync"

	"github.com/sirupsen/logrus"
)

// compose-go tells its warnings to logrus's global logger. While it runs they are taken from there; quietMu makes one
// Load wait for another, which is the price of that global.
var quietMu sync.Mutex

// quietly runs f and hands each warning of compose-go to warn instead of standard error. It must not be nested.
func quietly(warn func(string), f func()) {
	quietMu.Lock()
	defer quietMu.Unlock()
	log := logrus.StandardLogger()
	out, hooks := log.Out, log.ReplaceHooks(logrus.LevelHooks{})
	log.SetOutput(io.Discard)
	log.AddHook(warnings(warn))
	defer func() {
		log.SetOutput(out)
		log.ReplaceHooks(hooks)
	}()
	f()
}

type warnings func(string)

func (warnings) Levels() []logrus.Level { return logrus.AllLevels }

func (w warnings) Fire(e *logrus.Entry) error {
	w(e.Message)
	return nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

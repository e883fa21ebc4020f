package etcd

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/holdfast/holdfast"
)

// fault catches the errors at which etcd would end the process. The goroutine that meets one ends instead; the member
// is of no use then.
type fault struct {
	log      *slog.Logger
	happened chan struct{}

	once  sync.Once
	cause error
}

func newFault(log *slog.Logger) *fault {
	return &fault{log: log, happened: make(chan struct{})}
}

func (f *fault) err() error {
	select {
	case <-f.happened:
		return f.cause
	default:
		return nil
	}
}

// logger returns the logger for etcd: warnings and errors go to slog, fatal ones to f as well.
func (f *fault) logger() *zap.Logger {
	return zap.New(&core{log: f.log}, zap.WithFatalHook(f), zap.WithPanicHook(f))
}

// OnWrite implements zapcore.CheckWriteHook.
func (f *fault) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	f.once.Do(func() {
		f.cause = holdfast.Errorf(holdfast.ErrUnavailable, "%s%w", entry.Message, causeOf(fields))
		close(f.happened)
	})
	runtime.Goexit()
}

// causeOf returns the error among fields, with ": " before its text.
func causeOf(fields []zapcore.Field) error {
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
			return holdfast.Errorf(err, ": %w", err)
		}
	}
	return errors.New("")
}

// core writes zap entries to slog.
type core struct {
	log    *slog.Logger
	fields []zapcore.Field
}

// expected are what etcd warns of on every first start: until its first snapshot, its files do not tell their version.
var expected = map[string]bool{
	"Failed to detect schema version":  true,
	"failed to update storage version": true,
	"Failed to detect storage schema version. Please wait till wal snapshot before upgrading cluster.": true,
}

func (c *core) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{log: c.log, fields: append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

func (c *core) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) && !expected[entry.Message] {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c *core) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, field := range append(c.fields[:len(c.fields):len(c.fields)], fields...) {
		field.AddTo(enc)
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields))
	for key, value := range enc.Fields {
		attrs = append(attrs, slog.Any(key, value))
	}
	level := slog.LevelWarn
	if entry.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	c.log.LogAttrs(context.Background(), level, "etcd: "+entry.Message, attrs...)
	return nil
}

func (c *core) Sync() error { return nil }

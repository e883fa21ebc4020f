package compose

type remark struct {
	at   keyPath
	text string
}

func (l *loading) scanKeys()   {}
func (l *loading) checkFiles() {}

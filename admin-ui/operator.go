package adminui

// fieldReason is where somebody says why.
const fieldReason = "reason"

// showPlatform is the start page of those who run the platform.
func (s *Server) showPlatform(*visit) (answer, error) {
	return answer{page: "operator", heading: s.words.text("operator.heading")}, nil
}

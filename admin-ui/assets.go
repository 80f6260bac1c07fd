package adminui

import "carillon/admin-ui/assets"

// assetsPath is below which the portal serves styles and scripts.
const assetsPath = "/assets/"

func (s *Server) asset(v *visit) (answer, error) {
	file, found := assets.Find(v.params.ByName("name"))
	if !found {
		return answer{}, errNoPage
	}
	return answer{file: file}, nil
}

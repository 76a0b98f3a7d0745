"""What a recipe will cost before a GPU is rented: parameters, memory and time, counted from shapes."""

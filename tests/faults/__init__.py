"""What a fault or an attack costs: ``make faults`` runs each with real processes and prints two tables.

- :mod:`~tests.faults.faults`: parts that fail, and what visitors see of it
- :mod:`~tests.faults.attacks`: strangers (:mod:`~tests.faults.attackers`), and what they cost everybody else
- :mod:`~tests.faults.site`: the processes; :mod:`~tests.faults.parties`: whose programs they are; :mod:`~tests.faults.netns`: a
  laptop that can be cut off
- :mod:`~tests.faults.load`: the visitors; :mod:`~tests.faults.target`: the service
- :mod:`~tests.faults.report`: the tables
"""
